// The claims ledger: filter by status and words.
"use strict";
(function () {
  const $ = (id) => document.getElementById(id);

  document.addEventListener("DOMContentLoaded", async () => {
    const data = ELB.data("claims-data");
    const order = ["holds", "refuted", "undecided", "not run", "not implemented"];
    const narrow = ELB.narrow();
    const fits = (row) => {
      const status = $("status-filter").value;
      const tested = !["not run", "not implemented"].includes(row.status);
      const text = `${row.paper} ${row.slug} ${row.claim} ${row.tested} ${row.found}`.toLowerCase();
      const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      return (status === "" || (status === "tested" ? tested : row.status === status)) && words.every((word) => text.includes(word));
    };
    const evidence = (row) => ELB.el("span", { class: "wrap" }, ELB.el("code", {}, row.tested), ELB.el("span", { class: "note" }, row.tested ? ` ${row.found}` : ""));
    const paper = ELB.column("Paper", "slug", { width: 170, cssClass: "wrap", variableHeight: true, formatter: ELB.link("slug") });
    const width = narrow ? { width: $("ledger").clientWidth - 130 } : { widthGrow: 3, minWidth: 300 };
    const claim = ELB.column("Claim", "claim", { ...width, cssClass: "wrap", variableHeight: true });
    const grid = await ELB.grid($("ledger"), {
      data,
      index: "number",
      labelledby: "ledger-caption",
      layout: narrow ? "fitDataFill" : "fitColumns",
      columns: [
        ELB.column("Status", "status", { width: narrow ? 106 : 142, cssClass: "wrap", sorter: (a, b) => order.indexOf(a) - order.indexOf(b), formatter: ELB.chip("status") }),
        ...(narrow ? [claim, paper] : [paper, claim]),
        ELB.column("Left − right, with 95 % interval", "found", { widthGrow: 2, minWidth: 260, variableHeight: true, formatter: ELB.of(evidence) }),
      ],
      initialSort: [{ column: "status", dir: "asc" }],
    });
    const apply = () => {
      grid.setFilter(fits);
      ELB.say("status", `${data.filter(fits).length} of ${data.length} claims`);
    };
    const asked = decodeURIComponent(location.hash.slice(1));
    if ([...$("status-filter").options].some((option) => option.value === asked)) $("status-filter").value = asked;
    $("controls").hidden = false;
    $("status-filter").addEventListener("change", apply);
    $("filter").addEventListener("input", apply);
    apply();
  });
})();
