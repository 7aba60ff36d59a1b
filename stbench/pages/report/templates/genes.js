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
  // PCC and its interval, with the best control (dashed) and the ceiling, from the least end of the row to 1.
  const svg = (name, said) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(said)) made.setAttribute(key, value);
    return made;
  };
  const bar = ([, , , pcc, low, high, least, most], from) => {
    const at = (value) => `${(100 * (value - from)) / (1 - from)}%`;
    const upright = (value, kind) => svg("line", { class: kind, x1: at(value), x2: at(value), y1: "10%", y2: "90%" });
    const made = svg("svg", { class: "reachbar", "aria-hidden": "true" });
    made.append(upright(0, "zero"));
    if (most !== null) made.append(upright(most, "ceilings"));
    if (least !== null) made.append(upright(least, "controls"));
    if (low !== null) made.append(svg("line", { x1: at(low), x2: at(high), y1: "50%", y2: "50%" }));
    if (pcc !== null) made.append(svg("circle", { cx: at(pcc), cy: "50%", r: 4 }));
    return made;
  };
  const leastOf = (genes) => Math.min(0, ...genes.flatMap(([, , , ...ends]) => ends.filter((end) => typeof end === "number")));
  const line = (from, gene) => {
    const made = cells(gene);
    made.append(element("td", {}, bar(gene, from)));
    return made;
  };
  const cells = ([gene, verdict, patients, pcc, low, high, least, most, control]) => element("tr", {},
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
    const from = leastOf(block.genes);
    table.tBodies[0].replaceChildren(...found.map((gene) => line(from, gene)));
    counted.textContent = `${found.length} of ${block.genes.length} genes`;
    again(table);
  };

  table.tHead.rows[0].append(element("th", { scope: "col", textContent: "PCC ●, best control ┆, ceiling │" }));
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
