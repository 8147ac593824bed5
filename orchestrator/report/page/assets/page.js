"use strict";
// Joins the parts: filters, controls, theme, print.
(() => {
  const { data, rows, varying, state, element } = report;
  const part = (id) => document.getElementById(id);

  const redraw = () => {
    const shown = report.shown();
    part("shown").textContent = `${shown.length === rows.length ? "" : `${shown.length} of `}${rows.length} ${rows.length === 1 ? "row" : "rows"}`;
    tables.map(shown);
    tables.reset();
    tables.draw(shown);
    charts.draw(part("charts"), shown);
    if (!part("roofline-section").hidden) charts.roofline(part("roofline"), shown);
  };

  const select = (label, options, chosen, change) => {
    const made = element("select", {}, ...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
    made.addEventListener("change", () => { change(made.value); redraw(); });
    return element("label", {}, label, made);
  };

  const filters = () => {
    const outcomes = [...new Set([...data.outcome, ...data.flags.flat()])];
    const row = part("filter-row");
    row.append(select("Status", [["", "any"], ...outcomes.map((name) => [name, name])], "", (value) => { state.outcome = value; }));
    for (const { name, heading, values } of varying) {
      const options = values.map((value, index) => [String(index), String(value)]);
      row.append(select(heading, [["", "any"], ...options], "", (index) => { state.at[name] = index === "" ? undefined : values[index]; }));
    }
    const search = element("input", { type: "search", placeholder: "name, outcome, value" });
    search.addEventListener("input", d3debounce(() => { state.text = search.value; redraw(); }, 120));
    row.append(element("label", {}, "Search", search));
    row.append(element("button", { type: "reset" }, "Reset"));
    part("filters").addEventListener("submit", (event) => event.preventDefault());
    part("filters").addEventListener("reset", () => { state.hidden.clear(); state.outcome = ""; state.at = {}; state.text = ""; legend(); redraw(); });
  };

  const d3debounce = (action, ms) => {
    let timer = 0;
    return () => { clearTimeout(timer); timer = setTimeout(action, ms); };
  };

  const legend = () => part("legend").replaceChildren(...data.implementations.map((name, implementation) => {
    const button = element("button", { type: "button", "aria-pressed": String(!state.hidden.has(implementation)) }, element("span", { className: "mark" }, report.mark(implementation)), name);
    button.addEventListener("click", () => {
      state.hidden.has(implementation) ? state.hidden.delete(implementation) : state.hidden.add(implementation);
      button.setAttribute("aria-pressed", String(!state.hidden.has(implementation)));
      redraw();
    });
    return button;
  }));

  const controls = () => {
    const metrics = charts.choices();
    const box = element("fieldset", { className: "segments" }, element("legend", { className: "small" }, "Figure"));
    for (const name of metrics) {
      const input = element("input", { type: "radio", name: "metric", value: name, checked: name === state.metric });
      input.addEventListener("change", () => { state.metric = name; redraw(); });
      box.append(element("label", {}, input, element("span", {}, name === "speedup" ? "Speed-up" : report.label(name))));
    }
    part("chart-controls").append(box);
    part("chart-controls").append(select("Across", charts.choicesOfX, state.x, (value) => { state.x = value; }));
    if (charts.choices().includes("speedup")) part("chart-controls").append(select("Speed-up over", [...(report.several ? [["", "the first with the same work"]] : []), ...data.implementations.map((name, index) => [String(index), name])], report.several ? "" : String(data.baselines[0]), (value) => { state.baseline = value === "" ? null : Number(value); }));
  };

  const theme = () => {
    const root = document.documentElement, button = part("theme");
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
    const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `${button.textContent} colours`); };
    button.hidden = false;
    button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
    name();
  };

  // Paper has no buttons: every figure and every row is there, in light colours.
  const print = () => {
    const root = document.documentElement;
    let before;
    addEventListener("beforeprint", () => {
      before = root.dataset.theme ?? "";
      root.dataset.theme = "light";
      const shown = report.shown();
      charts.draw(part("charts"), shown, charts.choices().slice(0, 6), true);
      tables.map(shown, true);
      tables.draw(shown, true);
      for (const details of document.querySelectorAll("details")) details.open = true;
    });
    addEventListener("afterprint", () => { before ? (root.dataset.theme = before) : delete root.dataset.theme; redraw(); });
  };

  for (const place of document.querySelectorAll("[data-implementation]")) place.append(report.mark(Number(place.dataset.implementation)));
  for (const live of document.querySelectorAll(".live")) live.hidden = false;
  part("roofline-section").hidden = !data.peaks || !rows.some(charts.hasRoofline);
  if (!data.metrics.some(({ name }) => name === state.metric) && charts.choices().length) state.metric = charts.choices()[0];
  filters();
  legend();
  controls();
  theme();
  print();
  redraw();
  let width = innerWidth;
  addEventListener("resize", d3debounce(() => { if (innerWidth !== width) { width = innerWidth; redraw(); } }, 150));
  document.documentElement.dataset.ready = "yes";
})();
