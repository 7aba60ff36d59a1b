"use strict";
// Maps of a gene on a slide and correlations between genes, drawn from the numbers at the end of the page.
(() => {
  const { data, element, options } = window.report;
  const held = data("data-maps");
  if (!held || !held.slides.length) return;

  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const LEVEL = new Int8Array(128).fill(-1);
  [...LETTERS].forEach((letter, level) => { LEVEL[letter.charCodeAt(0)] = level; });
  const CATEGORIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f"];
  const WIDTH = 720; // pixels of a panel's canvas
  const at = (id) => document.getElementById(id);
  const levels = (text) => Int8Array.from(text, (letter) => LEVEL[letter.charCodeAt(0)]);

  // Four letters per spot: x and y in 4096ths of the panel's width and height.
  const spotsOf = (slide) => {
    const steps = levels(slide.places);
    const spots = [];
    for (let i = 0; i < steps.length; i += 4) {
      spots.push([(steps[i] * 64 + steps[i + 1]) / 4095, (steps[i + 2] * 64 + steps[i + 3]) / 4095]);
    }
    return spots;
  };
  const pictures = new Map();
  const pictureOf = (slide) => {
    if (!slide.picture) return Promise.resolve(null);
    if (!pictures.has(slide)) {
      const image = new Image();
      image.src = slide.picture.uri;
      pictures.set(slide, image.decode().then(() => image));
    }
    return pictures.get(slide);
  };
  const ramp = (colours) => `linear-gradient(to right, ${colours.join(",")})`;
  const signed = (value, digits = 2) => value.toFixed(digits).replace("-", "−");

  const panel = (title, block, score, ratio, said) => {
    const canvas = element("canvas", { width: WIDTH, height: Math.round(WIDTH * ratio) });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", said);
    const caption = element("figcaption", {}, element("b", { textContent: title }));
    const note = element("small", { textContent: score || "\u00a0" });
    caption.append(note);
    const ring = element("i", { className: "ring", hidden: true });
    const figure = element("figure", { className: block }, caption, element("div", { className: "map" }, canvas, ring));
    return { figure, canvas, note, ring };
  };

  const ground = (context, slide, image, alpha) => {
    const { width, height } = context.canvas;
    context.clearRect(0, 0, width, height);
    if (!image) return;
    const [x, y, w, h] = slide.picture.box;
    context.globalAlpha = alpha;
    context.drawImage(image, x * width, y * height, w * width, h * height);
    context.globalAlpha = 1;
  };
  const scaleBar = (context, [share, said]) => {
    const { width, height } = context.canvas;
    context.fillStyle = "rgba(255,255,255,.85)";
    context.font = "600 34px system-ui, sans-serif";
    const length = share * width;
    const room = Math.max(length, context.measureText(said).width);
    context.fillRect(16, height - 76, room + 24, 62);
    context.fillStyle = "#111";
    context.fillRect(28, height - 29, length, 6);
    context.fillText(said, 28, height - 40);
  };
  const discs = (context, slide, spots, colour) => {
    const { width, height } = context.canvas;
    const radius = Math.max((slide.spot * width) / 2, 1.2);
    spots.forEach(([x, y], spot) => {
      const fill = colour(spot);
      if (!fill) return;
      context.fillStyle = fill;
      context.beginPath();
      context.arc(x * width, y * height, radius, 0, 7);
      context.fill();
    });
  };

  let shown = 0; // the last drawing asked for; an earlier one that waits for its picture is dropped
  const state = { slide: held.slides[0], spots: [], gene: null, panels: [], spot: -1 };

  const draw = async () => {
    const mine = ++shown;
    const slide = state.slide;
    const image = await pictureOf(slide);
    if (mine !== shown) return;
    const gene = slide.genes.find((one) => one.name === at("gene").value) || slide.genes[0];
    Object.assign(state, { gene, spots: spotsOf(slide), panels: [] });
    const where = slide.patient || "patient unknown";
    at("map-title").textContent = `${gene.name} on ${slide.title}, ${where}, ${state.spots.length} spots`;
    [at("map-low").textContent, at("map-high").textContent] = gene.range.map((value) => signed(value));
    at("map-scale").textContent = `expression, ${slide.scale}`;
    const figures = [];
    at("map-domains").hidden = !slide.domains;
    if (image) figures.push(tissue(slide, image));
    if (slide.domains) figures.push(domains(slide, image));
    slide.layers.forEach((layer, place) => figures.push(map(slide, image, layer, place)));
    at("map-panels").replaceChildren(...figures);
    mark(-1);
  };
  const tissue = (slide, image) => {
    const made = panel("tissue (H&E)", "", "", slide.aspect, `tissue of slide ${slide.slide}`);
    const context = made.canvas.getContext("2d");
    ground(context, slide, image, 1);
    scaleBar(context, slide.bar);
    return made.figure;
  };
  const domains = (slide, image) => {
    const made = panel("domains", "", "", slide.aspect, `domains of slide ${slide.slide}`);
    const context = made.canvas.getContext("2d");
    const numbers = levels(slide.domains.values);
    const colour = (number) => CATEGORIES[number % CATEGORIES.length];
    ground(context, slide, image, 0.5);
    discs(context, slide, state.spots, (spot) => (numbers[spot] < 0 ? null : colour(numbers[spot])));
    at("map-domains").replaceChildren("domains:", ...slide.domains.names.map((name, number) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = colour(number);
      return element("span", {}, swatch, name);
    }));
    return made.figure;
  };
  const map = (slide, image, layer, place) => {
    const pcc = state.gene.pcc[place];
    const score = place === 0 ? "" : `PCC ${pcc === null ? "undefined" : signed(pcc)}`;
    const made = panel(layer.name, layer.block, score, slide.aspect, `${layer.name}: ${state.gene.name} on slide ${slide.slide}. ${score}`);
    const numbers = levels(state.gene.values[place]);
    const context = made.canvas.getContext("2d");
    ground(context, slide, image, 0.5);
    discs(context, slide, state.spots, (spot) => (numbers[spot] < 0 ? "#d9d9d9" : held.palettes.values[numbers[spot]]));
    if (!image && place === 0) scaleBar(context, slide.bar);
    state.panels.push({ ...made, numbers, score });
    made.canvas.tabIndex = 0;
    made.canvas.addEventListener("pointermove", (event) => mark(nearest(made.canvas, event)));
    made.canvas.addEventListener("pointerdown", (event) => mark(nearest(made.canvas, event)));
    made.canvas.addEventListener("pointerleave", () => mark(-1));
    made.canvas.addEventListener("keydown", step);
    made.canvas.addEventListener("blur", () => mark(-1));
    return made.figure;
  };
  const nearest = (canvas, event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    let best = -1;
    let least = (1.2 * state.slide.spot) ** 2;
    state.spots.forEach(([a, b], spot) => {
      const far = (a - x) ** 2 + ((b - y) * state.slide.aspect) ** 2;
      if (far < least) [best, least] = [spot, far];
    });
    return best;
  };
  // The next spot to one side: the nearest that lies more to that side than across.
  const step = (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    if (state.spot < 0) { mark(0); return; }
    const [x, y] = state.spots[state.spot];
    let [best, least] = [state.spot, Infinity];
    state.spots.forEach(([a, b], spot) => {
      const [dx, dy] = [a - x, (b - y) * state.slide.aspect];
      const along = dx * way[0] + dy * way[1];
      const across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (along > 1e-4 && across <= along && along + across < least) [best, least] = [spot, along + across];
    });
    mark(best);
  };
  const circle = (ring, slide, [x, y]) => {
    const width = 100 * slide.spot * 1.5;
    Object.assign(ring.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `max(${width}%, 10px)` });
  };
  const mark = (spot) => {
    if (spot === state.spot && spot === -1) return;
    state.spot = spot;
    const [low, high] = state.gene.range;
    for (const one of state.panels) {
      one.ring.hidden = spot < 0;
      if (spot >= 0) circle(one.ring, state.slide, state.spots[spot]);
      const level = spot < 0 ? -1 : one.numbers[spot];
      const end = level === 0 ? "≤ " : level === 63 ? "≥ " : "";
      const value = level < 0 ? "" : `${end}${signed(low + (level / 63) * (high - low))}`;
      one.note.textContent = [one.score, value].filter(Boolean).join(" · ") || "\u00a0";
    }
  };

  const chooseSlide = (place) => {
    state.slide = held.slides[place];
    at("slide").value = at("network-slide").value = String(place);
    const gene = at("gene").value;
    options(at("gene"), state.slide.genes.map((one) => [one.name, one.name]));
    if (state.slide.genes.some((one) => one.name === gene)) at("gene").value = gene;
    draw();
    drawNetworks();
  };
  const chooseGene = (by) => {
    const select = at("gene");
    const count = select.options.length;
    select.selectedIndex = (select.selectedIndex + by + count) % count;
    draw();
  };

  const drawNetworks = () => {
    const slide = state.slide;
    const network = slide.network;
    const part = network.genes.length < network.of ? `${network.genes.length} of ${network.of} genes, evenly along their order` : `${network.of} genes`;
    at("network-title").textContent = `${slide.title}: ${part}`;
    at("network-genes").textContent = network.genes.join(", ");
    at("network-panels").replaceChildren(...slide.layers.map((layer, place) => matrix(slide, layer, place)));
  };
  const matrix = (slide, layer, place) => {
    const { genes, values, gsc } = slide.network;
    const score = place === 0 ? "" : gsc[place] === null ? "GSC undefined" : `GSC ${signed(gsc[place])}`;
    const made = panel(layer.name, layer.block, score, 1, `${layer.name}: correlations between genes on slide ${slide.slide}. ${score}`);
    const n = genes.length;
    const numbers = levels(values[place]);
    const level = (a, b) => (a === b ? 63 : numbers[Math.min(a, b) * n - (Math.min(a, b) * (Math.min(a, b) + 1)) / 2 + Math.max(a, b) - Math.min(a, b) - 1]);
    made.canvas.width = made.canvas.height = Math.max(n, 2) * Math.ceil(WIDTH / Math.max(n, 2));
    const context = made.canvas.getContext("2d");
    const side = made.canvas.width / n;
    for (let a = 0; a < n; a += 1) {
      for (let b = 0; b < n; b += 1) {
        const found = level(a, b);
        context.fillStyle = found < 0 ? "#d9d9d9" : held.palettes.signed[found];
        context.fillRect(b * side, a * side, side, side);
      }
    }
    made.canvas.addEventListener("pointermove", (event) => {
      const box = made.canvas.getBoundingClientRect();
      const [a, b] = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((share) => Math.min(Math.max(Math.floor(share * n), 0), n - 1));
      const found = level(a, b);
      made.note.textContent = `${genes[a]} and ${genes[b]}: ${found < 0 ? "undefined" : signed((found / 63) * 2 - 1)}`;
    });
    made.canvas.addEventListener("pointerleave", () => { made.note.textContent = score || "\u00a0"; });
    return made.figure;
  };

  const names = held.slides.map((slide, place) => [place, slide.patient ? `${slide.slide}, ${slide.patient}` : slide.slide]);
  options(at("slide"), names);
  options(at("network-slide"), names);
  at("map-ramp").style.background = ramp(held.palettes.values);
  at("network-ramp").style.background = ramp(held.palettes.signed);
  document.querySelectorAll(".drawn").forEach((part) => { part.hidden = false; });
  at("slide").addEventListener("change", () => chooseSlide(at("slide").value));
  at("network-slide").addEventListener("change", () => chooseSlide(at("network-slide").value));
  at("gene").addEventListener("change", draw);
  at("gene-before").addEventListener("click", () => chooseGene(-1));
  at("gene-after").addEventListener("click", () => chooseGene(1));
  at("larger").addEventListener("click", () => {
    const large = at("map-panels").classList.toggle("large");
    at("larger").setAttribute("aria-pressed", String(large));
  });
  document.addEventListener("show-gene", ({ detail }) => {
    const place = state.slide.genes.some((one) => one.name === detail)
      ? held.slides.indexOf(state.slide)
      : held.slides.findIndex((slide) => slide.genes.some((one) => one.name === detail));
    chooseSlide(place);
    at("gene").value = detail;
    draw();
    at("maps").scrollIntoView();
    at("gene").focus({ preventScroll: true });
  });
  chooseSlide(0);
})();
