"use strict";
// Tables by patient and slide: the same rows and columns for another metric.
(() => {
  const { data, options, again } = window.report;
  const held = data("data-values");
  const chooser = document.getElementById("metric");
  const tables = [...document.querySelectorAll("table.values")];
  if (!held || !chooser || !tables.length) return;

  const rows = tables.map((table) => [...table.tBodies[0].rows]); // as they stood before any sorting
  const show = () => {
    const place = Number(chooser.value);
    tables.forEach((table, number) => {
      held.cells[place][number].forEach((line, at) => {
        line.forEach((text, column) => { rows[number][at].cells[column + 1].textContent = text; });
      });
      again(table);
    });
    for (const name of document.querySelectorAll(".metric")) name.textContent = held.metrics[place];
  };
  options(chooser, held.metrics.map((name, place) => [place, name]));
  chooser.closest(".choosers").hidden = false;
  chooser.addEventListener("change", show);
})();
