// One way to make a Tabulator grid: headers are buttons, text is never read as HTML, the plain table underneath gives way.
"use strict";
(function () {
  // What a cell shows, made of its row: a node, or text.
  ELB.of = (make) => (cell) => make(cell.getRow().getData());
  ELB.text = (text) => ELB.of((row) => ELB.el("span", {}, text(row)));
  ELB.link = (field) => ELB.of((row) => ELB.el("a", { href: row.url }, row[field]));
  ELB.chip = (field) => ELB.of((row) => ELB.el("span", { class: `chip ${row[field].replace(/\s+/g, "-")}` }, row[field]));

  // A column; `title` is plain text, `hint` the text shown on hovering.
  ELB.column = function (title, field, more) {
    const { hint, ...rest } = more || {};
    return {
      title,
      field,
      headerSortStartingDir: "asc",
      titleFormatter: () => ELB.el("button", { type: "button", class: "head", title: hint || null, "data-field": field }, title),
      formatter: "plaintext",
      ...rest,
    };
  };

  // Absent values stay last, whatever the direction.
  ELB.numeric = function (value) {
    return (a, b, rowA, rowB, column, direction) => {
      const [x, y] = [value(rowA.getData()), value(rowB.getData())];
      const absent = direction === "asc" ? 1 : -1;
      if (x === null || x === undefined) return y === null || y === undefined ? 0 : absent;
      if (y === null || y === undefined) return -absent;
      return x - y;
    };
  };

  ELB.grid = function (host, options) {
    const holder = ELB.el("div", { "aria-labelledby": options.labelledby || null });
    const fallback = host.querySelector(".fallback");
    host.append(holder);
    const { labelledby, ...rest } = options;
    const grid = new Tabulator(holder, {
      layout: "fitDataStretch",
      maxHeight: "75vh",
      movableColumns: false,
      resizableColumns: false,
      columnHeaderSortMulti: false,
      placeholder: "No rows",
      renderVertical: rest.data.length > 60 ? "virtual" : "basic",
      ...rest,
    });
    return new Promise((resolve) => {
      grid.on("tableBuilt", () => {
        if (fallback) fallback.hidden = true;
        const heads = () => [...holder.querySelectorAll(".tabulator-col")].filter((head) => head.offsetParent);
        ELB.further(holder.querySelector(".tabulator-tableholder"), holder, heads);
        resolve(grid);
      });
    });
  };
})();
