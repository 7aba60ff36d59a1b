"use strict";
// Tables that sort, marks that explain themselves, light and dark, what is printed. The page reads well without.
(() => {
  const root = document.documentElement;

  // A number in front of its interval and spread; nothing where the cell holds none.
  const valueOf = (cell) => {
    const found = /^[-+−]?\d+(\.\d+)?/.exec(cell.textContent.trim());
    return found ? Number(found[0].replace("−", "-")) : null;
  };
  const textOf = (cell) => (cell.querySelector(".name") || cell).textContent.trim();

  // What holds no number stays below, whichever the direction.
  const compare = (numbers, sign) => (a, b) => {
    if (!numbers) return sign * a.key.localeCompare(b.key, "en", { numeric: true });
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    return sign * (a.key - b.key);
  };

  const sort = (table, column, direction) => {
    const head = table.tHead.rows[0].cells[column];
    const numbers = head.classList.contains("n");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, key: (numbers ? valueOf : textOf)(row.cells[column]) }));
    rows.sort(compare(numbers, direction === "ascending" ? 1 : -1));
    body.append(...rows.map((one) => one.row));
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
  };

  const again = (table) => {
    const head = table.querySelector("thead [aria-sort]");
    if (head) sort(table, head.cellIndex, head.getAttribute("aria-sort"));
  };

  const makeSortable = (table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      const first = head.classList.contains("n") && !head.textContent.includes("↓") ? "descending" : "ascending";
      const other = { ascending: "descending", descending: "ascending" };
      button.addEventListener("click", () => sort(table, column, other[head.getAttribute("aria-sort")] || first));
    });
  };

  const explainMarks = () => {
    const tip = document.createElement("div");
    tip.id = "tip";
    tip.hidden = true;
    document.body.append(tip);
    let shown = null;
    const hide = () => { shown = null; tip.hidden = true; };
    const place = () => {
      if (!shown) return;
      const at = shown.getBoundingClientRect();
      const left = Math.min(at.left, innerWidth - tip.offsetWidth - 12);
      const below = at.bottom + 6 + tip.offsetHeight < innerHeight;
      tip.style.left = `${Math.max(left, 8)}px`;
      tip.style.top = `${below ? at.bottom + 6 : at.top - 6 - tip.offsetHeight}px`;
    };
    const show = (mark) => {
      shown = mark;
      tip.textContent = mark.dataset.said;
      tip.hidden = false;
      place();
    };
    for (const mark of document.querySelectorAll(".mark")) {
      mark.dataset.said = mark.title;
      mark.removeAttribute("title");
      mark.addEventListener("mouseenter", () => show(mark));
      mark.addEventListener("focus", () => show(mark));
      mark.addEventListener("mouseleave", hide);
      mark.addEventListener("blur", hide);
    }
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    addEventListener("scroll", place, { passive: true, capture: true });
  };

  // A file opened from the disk may have no storage; the choice is forgotten then.
  const stored = {
    get: () => { try { return localStorage.getItem("stbench-theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("stbench-theme", theme); } catch { /* not kept */ } },
  };
  const switchTheme = () => {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const now = () => root.dataset.theme || (system.matches ? "dark" : "light");
    const name = () => { button.textContent = now() === "dark" ? "Light" : "Dark"; };
    const kept = stored.get();
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
    button.hidden = false;
    name();
    system.addEventListener("change", name);
    button.addEventListener("click", () => {
      root.dataset.theme = now() === "dark" ? "light" : "dark";
      stored.set(root.dataset.theme);
      name();
    });
  };

  const printWhole = () => {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      for (const one of opened) one.open = true;
    });
    addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
  };

  const copyCommands = () => {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll(".copy")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
    }
  };

  // For the other scripts of the page.
  window.report = {
    data: (id) => {
      const held = document.getElementById(id);
      return held ? JSON.parse(held.textContent) : null;
    },
    again,
    element: (name, said = {}, ...children) => {
      const made = Object.assign(document.createElement(name), said);
      made.append(...children);
      return made;
    },
    options: (select, entries) => select.replaceChildren(...entries.map(([value, text]) => new Option(text, value))),
  };

  switchTheme();
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  explainMarks();
  printWhole();
  copyCommands();
})();
