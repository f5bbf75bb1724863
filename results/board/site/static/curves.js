// Learning curves of a method: choice of the task and the quantity.
"use strict";
(function () {
  document.addEventListener("DOMContentLoaded", () => {
    const data = ELB.data("curve-data");
    const [task, name] = [document.getElementById("curve-task"), document.getElementById("curve-name")];
    if (!data) return;

    function draw() {
      const runs = data[Number(task.value)].runs;
      const make = () => ({
        grid: { left: 12, right: 24, top: 16, bottom: 64, containLabel: true },
        legend: { bottom: 0, data: runs.map((_, i) => `run ${i + 1}`) },
        tooltip: { formatter: (item) => ELB.tip(item.seriesName, `epoch ${item.value[0]}: ${ELB.short(item.value[1])}`) },
        xAxis: ELB.axis({ type: "value", name: "epoch", nameGap: 26, minInterval: 1 }),
        yAxis: ELB.axis({ type: "value", scale: true }),
        series: runs.map((run, i) => ({
          name: `run ${i + 1}`,
          type: "line",
          ...ELB.series(i),
          symbolSize: 5,
          lineStyle: { width: 1.8, color: ELB.series(i).color },
          itemStyle: { color: ELB.series(i).color },
          data: run.epoch.map((epoch, j) => [epoch, (run[name.value] || [])[j]]).filter((point) => point[1] !== null && point[1] !== undefined),
        })),
      });
      ELB.chart(document.getElementById("curves"), `${name.value} by epoch on ${data[Number(task.value)].task}`, make);
    }

    function names() {
      const known = [...new Set(data[Number(task.value)].runs.flatMap((run) => Object.keys(run)))].filter((key) => key !== "epoch");
      known.sort((a, b) => b.startsWith("valid/") - a.startsWith("valid/"));
      name.replaceChildren(...known.map((key) => ELB.el("option", { value: key }, key)));
      draw();
    }

    task.replaceChildren(...data.map((item, i) => ELB.el("option", { value: i }, item.task)));
    task.addEventListener("change", names);
    name.addEventListener("change", draw);
    names();
  });
})();
