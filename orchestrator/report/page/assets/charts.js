"use strict";
// Curves: small multiples, one panel per combination of the axes that are not on x. Of a search points by trial, one panel per search.
const charts = (() => {
  const { rows, axes, varying, search, given, across, TRIAL, state, element } = report;
  const WIDTH = 360, HEIGHT = 240, PANELS = 12;
  let wanted = PANELS;

  const numeric = varying.filter(({ numeric }) => numeric);
  // The axis with the most values makes the longest line; of two alike the one that reaches furthest.
  const reach = ({ values }) => [values.length, values.at(-1) / Math.max(1e-9, Math.abs(values[0])), values.at(-1)];
  const longest = [...numeric].sort((a, b) => d3.descending(reach(a)[0], reach(b)[0]) || d3.descending(reach(a)[1], reach(b)[1]) || d3.descending(reach(a)[2], reach(b)[2]))[0];
  state.x = search ? TRIAL : longest?.name ?? "";

  const spread = (values) => {
    const [low, high] = d3.extent(values);
    return low > 0 && high / low >= 6 ? "log" : "linear";
  };
  const evenly = (values) => (values[0] > 0 && values.at(-1) / values[0] >= 4 ? "log" : "linear"); // sizes mostly double

  const panels = (shown) => {
    const others = varying.filter((axis) => axis.name !== state.x && given.includes(axis));
    const groups = d3.groups(shown, (row) => JSON.stringify(others.map(({ name }) => row.at[name])));
    return groups.map(([, group]) => ({ title: others.map(({ name, heading }) => `${heading} ${group[0].at[name]}`).join(" · ") || "All", rows: group }));
  };

  const tip = (row, metric) => {
    const ends = report.bounds(row, metric);
    const spread = ends ? `\n95 %: ${report.short(ends[0])} to ${report.short(ends[1])}` : "";
    const at = axes.map(({ heading, name }) => `${heading} ${row.at[name]}`).join(", ");
    return `${row.name}\n${report.short(report.value(row, metric))} ${report.unit(metric)}${spread}\n${at}${row.flags.length ? `\nflagged: ${row.flags.join(", ")}` : ""}`;
  };

  // The values, and their intervals as far as twice beyond them: a noisy row must not press the others flat.
  const domain = (panel, metric) => {
    const [low, high] = d3.extent(panel, (row) => report.value(row, metric));
    if (low == null) return null;
    const ends = panel.flatMap((row) => report.bounds(row, metric) ?? []);
    return [Math.max(low / 2, Math.min(low, ...ends)), Math.min(high * 2, Math.max(high, ...ends))];
  };
  const clipped = (row, metric, { domain: [low, high] }) => report.bounds(row, metric).map((end) => Math.min(high, Math.max(low, end)));

  // One kind of scale for all panels of a figure, each with its own range.
  const scale = (panel, metric) => {
    const [low, high] = domain(panel, metric);
    if (spread(domain(report.shown(), metric)) !== "log") return { type: "linear", domain: [0, high * 1.08 || 1], ticks: 4, tickFormat: report.short };
    return { type: "log", domain: [low / 1.15, high * 1.15], ticks: logTicks(low, high), tickFormat: report.short };
  };

  // 1, 2 and 5 of each decade while they are few, else the decades.
  const logTicks = (low, high) => {
    if (high / low < 1.5) return 4;
    const decades = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
    const within = (steps) => decades.flatMap((power) => steps.map((step) => step * 10 ** power)).filter((tick) => tick >= low / 1.15 && tick <= high * 1.15);
    return [[1, 2, 5], [1, 3], [1]].map(within).find((ticks) => ticks.length <= 6) ?? within([1]);
  };

  // Rows without a result stand in a strip below the curves, beside one another where they share a place.
  const failures = (panel, at) => [...d3.group(panel.filter((row) => !row.ok && row.outcome !== "not run"), at)].flatMap(
    ([place, group]) => group.map((row, index) => ({ row, place, dx: 11 * (index - (group.length - 1) / 2) })));

  // Trial by trial the best of what was asked for; nothing for another figure, or across another axis.
  const bestSoFar = (line, metric) => {
    if (state.x !== TRIAL || metric !== search.metric) return [];
    const better = search.least ? d3.least : d3.greatest;
    return line.map((row, index) => ({ ...better(line.slice(0, index + 1), (each) => report.value(each, metric)), number: row.number }));
  };

  const curve = (panel, metric, width) => {
    const x = across(state.x), { at } = x;
    const points = panel.filter((row) => report.value(row, metric) != null);
    const xs = x.values.filter((value) => panel.some((row) => at(row) === value));
    const ticks = state.x === TRIAL ? d3.ticks(1, xs.at(-1), 6).filter(Number.isInteger) : xs;
    const y = scale(points, metric);
    const common = { x: at, y: (row) => report.value(row, metric) };
    const marks = [Plot.gridY({ ticks: y.ticks, stroke: "var(--line)", strokeOpacity: 1 })];
    if (metric === "speedup") marks.push(Plot.ruleY([1], { stroke: "var(--strong-line)", strokeDasharray: "3 3" }));
    for (const [implementation, own] of d3.group(points, (row) => row.implementation)) {
      const line = d3.sort(own, at), stroke = report.colour(implementation);
      const joined = search ? bestSoFar(line, metric) : line;
      marks.push(Plot.line(joined, { ...common, curve: search ? "step-after" : "linear", stroke, strokeWidth: 2, strokeDasharray: report.dash(implementation) }));
      marks.push(Plot.ruleX(line.filter((row) => report.bounds(row, metric)), { x: at, y1: (row) => clipped(row, metric, y)[0], y2: (row) => clipped(row, metric, y)[1], stroke, strokeWidth: 5, strokeOpacity: 0.45 }));
      marks.push(Plot.dot(line, { ...common, fill: (row) => (row.flags.length ? "var(--raised)" : stroke), stroke, strokeWidth: 1.5, r: 4, symbol: report.symbol(implementation) }));
    }
    const failed = failures(panel, at);
    failed.forEach(({ row, place, dx }) => marks.push(Plot.text([row], {
      x: () => place, text: () => "✗", frameAnchor: "bottom", dy: -2, dx, fill: report.colour(row.implementation), fontWeight: 700, fontSize: 13, title: () => `${row.name}: ${row.outcome}` })));
    marks.push(Plot.tip(points, Plot.pointer({ ...common, title: (row) => tip(row, metric), fill: "var(--raised)", stroke: "var(--strong-line)" })));
    return Plot.plot({
      width, height: HEIGHT, marginLeft: 52, marginBottom: 34, marginTop: 12, marginRight: 14, style: { background: "transparent", color: "var(--text)", fontSize: "12px" },
      x: { type: state.x === TRIAL ? "linear" : evenly(x.values), domain: xs.length > 1 ? d3.extent(xs) : [xs[0] * 0.9, xs[0] * 1.1], ticks, tickFormat: (value) => (ticks.includes(value) ? String(value) : ""), label: x.heading, labelArrow: "none", inset: 12 },
      y: { ...y, label: null, line: false, tickSize: 0, insetBottom: failed.length ? 18 : 0 },
      marks,
    });
  };

  // Without a numeric axis on x: one line per implementation, its median and interval.
  const dots = (panel, metric, width) => {
    const points = panel.filter((row) => report.value(row, metric) != null);
    const names = [...new Set(panel.map((row) => row.name))];
    const at = (row) => report.value(row, metric), own = (row) => row.name, x = scale(points, metric);
    return Plot.plot({
      width, height: 56 + 26 * names.length, marginLeft: Math.min(150, 14 + 7 * d3.max(names, (name) => name.length)), marginRight: 18, style: { background: "transparent", color: "var(--text)", fontSize: "12px" },
      x: { ...x, grid: true, label: null }, y: { domain: names, label: null, tickSize: 0, tickFormat: (name) => (name.length > 20 ? `${name.slice(0, 19)}…` : name) },
      marks: [
        Plot.ruleY(points.filter((row) => report.bounds(row, metric)), { y: own, x1: (row) => clipped(row, metric, x)[0], x2: (row) => clipped(row, metric, x)[1], stroke: (row) => report.colour(row.implementation), strokeWidth: 6, strokeOpacity: 0.45 }),
        ...points.map((row) => Plot.dot([row], { x: at, y: own, fill: report.colour(row.implementation), r: 5, symbol: report.symbol(row.implementation) })),
        Plot.tip(points, Plot.pointer({ x: at, y: own, title: (row) => tip(row, metric), fill: "var(--raised)", stroke: "var(--strong-line)" })),
      ],
      color: { type: "identity" },
    });
  };

  const figure = (panel, metric, width) => {
    const caption = element("figcaption", {}, panel.title);
    if (!panel.rows.some((row) => report.value(row, metric) != null)) return element("figure", { className: "chart" }, caption, element("p", { className: "empty" }, "No row here has this figure."));
    const drawn = (state.x ? curve : dots)(panel.rows, metric, width);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", `${report.label(metric)} in ${report.unit(metric)}, ${panel.title}. The rows below have the numbers.`);
    return element("figure", { className: "chart" }, caption, drawn);
  };

  // A few panels a frame, so that the page answers while it draws; all at once where paper waits.
  let drawing = 0;
  const draw = (container, shown, names = [state.metric], atOnce = false) => {
    const own = ++drawing, tasks = [];
    container.replaceChildren();
    if (!shown.length) container.append(element("p", { className: "empty" }, "No row passes the filters."));
    const across = Math.max(1, Math.floor(container.clientWidth / 336));
    const width = Math.max(280, Math.min(560, Math.floor(container.clientWidth / across) - 16)) || WIDTH;
    for (const metric of names) tasks.push(...section(container, shown, metric, width, () => draw(container, shown, names)));
    if (atOnce) return tasks.forEach((task) => task());
    const step = () => {
      if (own !== drawing) return;
      const until = performance.now() + 24;
      while (tasks.length && performance.now() < until) tasks.shift()();
      if (tasks.length) requestAnimationFrame(step);
      else container.dataset.drawn = "yes";
    };
    delete container.dataset.drawn;
    requestAnimationFrame(step);
  };

  const key = (shown) => element("p", { className: "key small" }, ...[...new Set(shown.map((row) => row.implementation))].sort(d3.ascending).map((implementation) =>
    element("span", {}, element("span", { className: "mark" }, report.mark(implementation)), report.data.implementations[implementation])),
    element("span", {}, "hollow: flagged"), element("span", {}, "✗ no result"), state.x === TRIAL ? element("span", {}, "line: the best so far") : null);

  const section = (container, shown, metric, width, redraw) => {
    const found = panels(shown), left = found.length - wanted;
    const more = () => element("button", { type: "button", onclick: () => { wanted += PANELS; redraw(); } }, `${left} more panels`);
    return [
      () => container.append(element("h3", {}, `${report.label(metric)} (${report.unit(metric)})`), key(shown)),
      ...found.slice(0, wanted).map((panel) => () => container.append(figure(panel, metric, width))),
      ...(left > 0 ? [() => container.append(more())] : []),
    ];
  };

  // Useful work against arithmetic intensity, under what this device was measured to reach. Both axes are logarithmic.
  const intensity = (row) => (1000 * row.figure.tflops_per_s) / row.figure.gb_per_s; // FLOP per byte that a call must move
  const hasRoofline = (row) => row.figure.tflops_per_s > 0 && row.figure.gb_per_s > 0;

  const roofline = (container, shown) => {
    const points = shown.filter(hasRoofline), { peaks } = report.data;
    if (!points.length) return container.replaceChildren(element("p", { className: "empty" }, "No row passes the filters."));
    const roofs = Object.entries(peaks.matmul), ridges = roofs.map(([, tflops]) => (1000 * tflops) / peaks.copy);
    const [low, high] = d3.extent([...points.map(intensity), ...ridges]), left = low / 2, right = high * 2;
    const roof = ([, tflops], index) => [left, ridges[index], right].map((x) => ({ x, y: Math.min(tflops, (x * peaks.copy) / 1000) }));
    const least = d3.min(points, (row) => row.figure.tflops_per_s), most = d3.max([...roofs.map(([, tflops]) => tflops), ...points.map((row) => row.figure.tflops_per_s)]);
    const width = Math.max(300, Math.min(820, container.clientWidth || 820)), at = { x: intensity, y: (row) => row.figure.tflops_per_s };
    const bottom = Math.min(least, (left * peaks.copy) / 1000) / 1.5, top = most * 1.7;
    const marks = [Plot.gridY({ ticks: logTicks(bottom, top), stroke: "var(--line)", strokeOpacity: 1 })];
    roofs.forEach((each, index) => {
      marks.push(Plot.line(roof(each, index), { x: "x", y: "y", stroke: "var(--strong-line)", strokeWidth: 1.5 }));
      const textAnchor = ridges[index] ** 2 < left * right ? "start" : "end"; // where no point can be, or few are
      marks.push(Plot.text([{ x: ridges[index], y: each[1] }], { x: "x", y: "y", text: () => `${each[0]} matmul: ${report.short(each[1])} TFLOP/s`, textAnchor, dy: -8, fill: "var(--muted)" }));
    });
    marks.push(Plot.text([{ x: left, y: bottom }], { x: "x", y: "y", text: () => `copy: ${report.short(peaks.copy)} GB/s`, frameAnchor: "bottom-left", textAnchor: "start", dx: 6, dy: -6, fill: "var(--muted)" }));
    for (const [implementation, own] of d3.group(points, (row) => row.implementation)) {
      const stroke = report.colour(implementation);
      marks.push(Plot.dot(own, { ...at, fill: (row) => (row.flags.length ? "var(--raised)" : stroke), stroke, strokeWidth: 1.5, r: 4.5, symbol: report.symbol(implementation) }));
    }
    marks.push(Plot.tip(points, Plot.pointer({ ...at, title: (row) => `${tip(row, "tflops_per_s")}\n${report.short(intensity(row))} FLOP/byte`, fill: "var(--raised)", stroke: "var(--strong-line)" })));
    const scaled = (from, to) => ({ type: "log", domain: [from, to], ticks: logTicks(from, to), tickFormat: report.short });
    const drawn = Plot.plot({
      width, height: 380, marginLeft: 56, marginRight: 18, marginBottom: 40, style: { background: "transparent", color: "var(--text)", fontSize: "12px" },
      x: { ...scaled(left, right), label: width < 500 ? "FLOP per byte" : "Arithmetic intensity (useful FLOP per byte of minimum traffic)", labelArrow: "none", labelAnchor: "center" },
      y: { ...scaled(bottom, top), label: null, line: false, tickSize: 0 }, marks,
    });
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", "Useful TFLOP/s against arithmetic intensity, below the measured peaks of this device. The rows have the numbers.");
    container.replaceChildren(element("figure", { className: "chart" }, element("figcaption", {}, "Useful work (TFLOP/s)"), drawn), key(points));
  };

  const choices = () => {
    const known = report.data.metrics.filter(({ name, drawn }) => drawn && rows.some((row) => row.figure[name] != null)).map(({ name }) => name);
    return report.data.implementations.length > 1 && !search ? [...known.slice(0, 3), "speedup", ...known.slice(3)] : known;
  };

  const choicesOfX = [...(search ? [[TRIAL, "trial"]] : []), ...numeric.map(({ name, heading }) => [name, heading]), ["", "implementation"]];

  return { draw, roofline, hasRoofline, choices, choicesOfX };
})();
