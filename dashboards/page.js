// Sorts and filters the leaderboard, and draws each figure when it comes near the screen.
"use strict";
(() => {
  const picker = document.getElementById("group");
  const groups = picker ? [...picker.options].map((one) => one.value) : null;

  // --- the leaderboard ---------------------------------------------------------------------
  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const shown = document.getElementById("shown");
  const filter = document.getElementById("filter");
  const texts = rows.map((row) => row.textContent.toLowerCase());

  function apply_filter() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => texts[place].includes(word));
      count += row.hidden ? 0 : 1;
    });
    shown.textContent = `${count} of ${rows.length} rows`;
  }

  function sort_by(button) {
    const head = button.closest("th");
    const column = head.cellIndex;
    const numeric = button.dataset.numeric === "1";
    // Numbers begin with the largest, except p and tiers, of which the smallest are the best.
    const small_first = !numeric || ["p", "tier"].includes(button.dataset.key);
    const before = head.getAttribute("aria-sort");
    const up = before === null ? small_first : before === "descending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const places = new Map(rows.map((row) => [row, row.cells[column].dataset.place]));
    const compare = (a, b) => {
      const [x, y] = [places.get(a), places.get(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const order = numeric ? x - y : x.localeCompare(y, undefined, { numeric: true });
      return up ? order : -order;
    };
    body.append(...[...rows].sort(compare));
  }

  filter.addEventListener("input", apply_filter);
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sort_by(button));
  }
  const whole = document.getElementById("all-columns");
  const show_columns = () => table.classList.toggle("whole", whole.checked);
  whole.addEventListener("change", show_columns);
  apply_filter();
  show_columns();

  // --- figures, once Plotly has been read ----------------------------------------------------
  let figures = {};
  const canvases = [...document.querySelectorAll(".plot")];
  const drawn = new Set();

  const variable = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const color_of = (word) => {
    const arm = /^@(\d+)$/.exec(word);
    return variable(arm ? `arm${arm[1] % 10}` : word.slice(1));
  };

  // A copy of a figure's words, with the theme's colours wherever a colour is named.
  function coloured(value, key) {
    if (Array.isArray(value)) return value.map((one) => coloured(one, key));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k)]));
    }
    return key === "color" && typeof value === "string" && value[0] === "@"
      ? color_of(value) : value;
  }

  function layout_of(figure, width) {
    const axis = {
      gridcolor: variable("grid"), zerolinecolor: variable("grid"), linecolor: variable("line"),
      automargin: true, fixedrange: false,
    };
    const given = coloured(figure.layout);
    const narrow = width < 480;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { color: variable("text"), family: getComputedStyle(document.body).fontFamily,
              size: narrow ? 11 : 12.5 },
      margin: { l: 10, r: 14, t: 12, b: 10 }, hoverlabel: { align: "left", namelength: 40 },
      legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom" },
      dragmode: narrow ? false : "zoom",
      ...given,
      xaxis: { ...axis, ...given.xaxis },
      yaxis: { ...axis, ...given.yaxis },
    };
  }

  const group_now = () => (picker ? picker.value : null);

  // What a slot shows now: by the chosen data × model, else the only one, and by its own choice.
  function choices_of(plot) {
    const slot = figures[plot.dataset.slot];
    if (!slot) return null;
    if (slot[""]) return slot[""];
    return groups ? slot[group_now()] || null : Object.values(slot)[0];
  }

  function fill_choice(plot, choices) {
    const select = plot.querySelector(".choice select");
    if (!select) return;
    const names = Object.keys(choices);
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    select.value = names.includes(before) ? before : names[0];
    plot.querySelector(".choice").hidden = names.length < 2;
  }

  function draw(plot) {
    const choices = choices_of(plot);
    if (choices === null) return;
    const select = plot.querySelector(".choice select");
    const figure = choices[select ? select.value : Object.keys(choices)[0]];
    const canvas = plot.querySelector(".canvas");
    canvas.setAttribute("aria-label", figure.alt);
    drawn.add(plot);
    Plotly.react(canvas, coloured(figure.data), layout_of(figure, canvas.clientWidth), {
      responsive: true, displaylogo: false, displayModeBar: "hover", scrollZoom: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    }).then(() => { plot.dataset.drawn = "1"; });
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "400px" });

  function show_group() {
    for (const part of document.querySelectorAll("[data-group]")) {
      part.hidden = groups !== null && part.dataset.group !== group_now();
    }
    for (const plot of canvases) {
      const choices = choices_of(plot);
      plot.hidden = choices === null;
      if (choices === null) continue;
      fill_choice(plot, choices);
      if (drawn.has(plot)) draw(plot);
      else watcher.observe(plot);
    }
    for (const note of document.querySelectorAll(".empty")) {
      note.hidden = !note.parentNode.querySelector(".plot").hidden;
    }
  }

  for (const plot of canvases) {
    const select = plot.querySelector(".choice select");
    if (select) select.addEventListener("change", () => draw(plot));
  }
  if (picker) picker.addEventListener("change", show_group);
  const redraw = () => drawn.forEach((plot) => { if (!plot.hidden) draw(plot); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    for (const plot of canvases) if (!plot.hidden) draw(plot);
  });
  window.addEventListener("load", () => {
    figures = JSON.parse(document.getElementById("figures").textContent);
    show_group();
    document.documentElement.dataset.ready = "1";
  });
})();
