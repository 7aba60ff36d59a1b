"use strict";
// The table of genes: another row of the board, a verdict, a search; names lead to maps.
(() => {
  const { data, element, options, again } = window.report;
  const held = data("data-genes");
  const table = document.getElementById("gene-table");
  if (!held || !table || !held.blocks.length) return;

  const rowOf = document.getElementById("gene-row");
  const verdictOf = document.getElementById("gene-verdict");
  const search = document.getElementById("gene-search");
  const counted = document.getElementById("gene-count");
  const slides = (data("data-maps") || { slides: [] }).slides;
  const mapped = new Set(slides.flatMap((slide) => slide.genes.map((gene) => gene.name)));

  const number = (value) => (value === null ? "-" : value.toFixed(3));
  const named = (gene) => {
    if (!mapped.has(gene)) return document.createTextNode(gene);
    const button = element("button", { type: "button", textContent: gene, title: "show its map" });
    button.addEventListener("click", () => document.dispatchEvent(new CustomEvent("show-gene", { detail: gene })));
    return button;
  };
  const line = ([gene, verdict, patients, pcc, low, high, least, most, control]) => element("tr", {},
    element("th", { scope: "row" }, named(gene)),
    element("td", { className: `v ${verdict}`, textContent: verdict || "-" }),
    element("td", { className: "n", textContent: number(pcc) }),
    element("td", { className: "n", textContent: low === null ? "-" : `${number(low)} to ${number(high)}` }),
    element("td", { className: "n", textContent: number(least) }),
    element("td", { textContent: control || "-" }),
    element("td", { className: "n", textContent: number(most) }),
    element("td", { className: "n", textContent: String(patients) }));

  const show = () => {
    const block = held.blocks[Number(rowOf.value)];
    const wanted = search.value.trim().toLowerCase();
    const found = block.genes.filter(([gene, verdict]) =>
      gene.toLowerCase().includes(wanted) && (!verdictOf.value || verdict === verdictOf.value));
    table.caption.textContent = `${block.row}, ${block.scale}`;
    table.tBodies[0].replaceChildren(...found.map(line));
    counted.textContent = `${found.length} of ${block.genes.length} genes`;
    again(table);
  };

  const several = new Set(held.blocks.map((block) => block.scale)).size > 1;
  options(rowOf, held.blocks.map((block, place) => [place, several ? `${block.row}, ${block.scale}` : block.row]));
  const judged = held.blocks.some((block) => block.genes.some(([, verdict]) => verdict));
  verdictOf.parentElement.hidden = !judged;
  rowOf.closest(".choosers").hidden = false;
  rowOf.addEventListener("change", show);
  verdictOf.addEventListener("change", show);
  search.addEventListener("input", show);
  show();
})();
