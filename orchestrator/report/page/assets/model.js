"use strict";
// The rows, what of them is shown, and how numbers read. Everything below works on this.
const report = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const metrics = new Map(data.metrics.map((metric) => [metric.name, metric]));
  const axes = data.axes.map(({ name, heading }) => {
    const values = [...new Set(data.values[name])];
    const numeric = values.every((value) => typeof value === "number");
    return { name, heading, numeric, values: numeric ? values.sort((a, b) => a - b) : values };
  });
  const varying = axes.filter(({ values }) => values.length > 1); // the others stand in the page's heading
  const rows = data.trial.map((trial, index) => ({
    index, trial,
    implementation: data.implementation[index],
    name: data.implementations[data.implementation[index]],
    at: Object.fromEntries(axes.map(({ name }) => [name, data.values[name][index]])),
    point: JSON.stringify(axes.map(({ name }) => data.values[name][index])),
    outcome: data.outcome[index],
    flags: data.flags[index],
    ok: data.outcome[index] === "ok",
    log: data.log[index],
    details: data.details[index],
    repetitions: data.repetitions[index],
    figure: Object.fromEntries([...metrics.keys()].map((name) => [name, data.figures[name][index]])),
  }));
  // A search's trials are numbered as they were proposed, within each search: an implementation at one point of the other axes.
  const search = data.search;
  const TRIAL = "trial"; // no axis has this name: an axis is a param or options.name
  const given = axes.filter(({ name }) => !search?.axes.includes(name));
  for (const own of d3.group(rows, (row) => JSON.stringify([row.implementation, ...given.map(({ name }) => row.at[name])])).values()) own.forEach((row, index) => { row.number = index + 1; });
  const across = (name) => (name !== TRIAL ? { ...axes.find((axis) => axis.name === name), at: (row) => row.at[name] }
    : { heading: "Trial", values: d3.range(1, 1 + d3.max(rows, (row) => row.number)), at: (row) => row.number });

  for (const row of rows) row.text = [row.name, row.outcome, ...row.flags, ...Object.values(row.at), row.trial].join(" ").toLowerCase();

  const state = { hidden: new Set(), outcome: "", at: {}, text: "", metric: "latency_ms", x: "", baseline: null };

  const shown = () => rows.filter((row) =>
    !state.hidden.has(row.implementation) &&
    (!state.outcome || row.outcome === state.outcome || row.flags.includes(state.outcome)) &&
    axes.every(({ name }) => state.at[name] === undefined || row.at[name] === state.at[name]) &&
    state.text.toLowerCase().split(/\s+/).every((word) => row.text.includes(word)));

  // A baseline's row of the same point, for speed-ups: the one chosen, or the sweep's for this work.
  const several = new Set(data.kinds).size > 1;
  const baseline = (row) => state.baseline ?? data.baselines[row.implementation];
  const byPoint = d3.rollup(rows, (group) => new Map(group.map((row) => [row.implementation, row])), (row) => row.point);
  const base = (row) => byPoint.get(row.point).get(baseline(row));
  const speedup = (row, own = "latency_ms", other = "latency_ms") => {
    const left = base(row)?.figure[other], right = row.figure[own];
    return left && right ? left / right : null;
  };

  // The interval of one process knows nothing of a neighbour who comes and goes: such a row proves no rank.
  const disturbed = (row) => row.flags.includes("contended") || row.flags.includes("throttled");
  // Nor does it know of a machine that is slower ten minutes later.
  const isClear = ([first, second]) => {
    const areApart = first.figure.latency_ci_high_ms < second.figure.latency_ci_low_ms;
    const lead = second.figure.latency_ms / first.figure.latency_ms;
    return areApart && lead > data.least_lead && !disturbed(first) && !disturbed(second);
  };

  const value = (row, name) => (name === "speedup" ? speedup(row) : row.figure[name]);
  const bounds = (row, name) => {
    const low = row.figure.latency_ci_low_ms, high = row.figure.latency_ci_high_ms, median = row.figure.latency_ms;
    if (low == null || high == null || !median) return null;
    if (name === "latency_ms") return [low, high];
    if (name === "speedup") return bothEnds(row);
    const rate = row.figure[name]; // rates go with 1 / time, and so do their intervals
    return /_per_s$|ceiling_share/.test(name) && rate != null ? [(rate * median) / high, (rate * median) / low] : null;
  };
  const bothEnds = (row) => {
    if (row.implementation === baseline(row)) return null;
    const low = speedup(row, "latency_ci_high_ms", "latency_ci_low_ms"), high = speedup(row, "latency_ci_low_ms", "latency_ci_high_ms");
    return low && high ? [low, high] : null;
  };

  const over = () => (state.baseline == null && several ? "the first with the same work" : data.implementations[state.baseline ?? data.baselines[0]]);
  const share = (number) => (number == null ? "N/A" : number > 1.005 ? "over 100 %" : d3.format(".0%")(number).replace("%", " %"));
  const label = (name) => (name === "speedup" ? `Speed over ${over()}` : metrics.get(name).label);
  const unit = (name) => (name === "speedup" ? "times" : metrics.get(name).unit);

  const short = (number) => {
    if (number == null) return "N/A";
    const size = Math.abs(number);
    if (size > 0 && size < 1e-4) return number.toExponential(2);
    if (size >= 1e5) return d3.format(".3s")(number).replace("G", "B");
    return size >= 100 ? d3.format(",.0f")(number) : size === 0 ? "0" : d3.format(".3~r")(number);
  };
  // As many decimals as give the interval's half-width two significant digits.
  const decimals = (row) => {
    const low = row.figure.latency_ci_low_ms, high = row.figure.latency_ci_high_ms;
    return high > low ? Math.min(7, Math.max(0, 1 - Math.floor(Math.log10((high - low) / 2)))) : 2;
  };
  const interval = (row) => {
    const low = row.figure.latency_ci_low_ms, high = row.figure.latency_ci_high_ms;
    return low == null || high == null ? "N/A" : `${low.toFixed(decimals(row))} – ${high.toFixed(decimals(row))}`;
  };
  const median = (row) => {
    const ms = row.figure.latency_ms;
    return ms == null ? "N/A" : row.figure.latency_ci_high_ms == null ? short(ms) : ms.toFixed(decimals(row));
  };
  const times = (number) => (number == null ? "N/A" : `${number < 0.1 ? number.toPrecision(2) : number < 10 ? number.toFixed(2) : number < 100 ? number.toFixed(1) : number.toFixed(0)}x`);

  const colour = (implementation) => `var(--i${implementation % 8})`;
  const symbols = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond, d3.symbolCross, d3.symbolStar, d3.symbolWye, d3.symbolDiamond2];
  const symbol = (implementation) => symbols[(implementation + Math.floor(implementation / 8)) % 8];
  const dashes = ["", "6 3", "2 3", "8 3 2 3"];
  const dash = (implementation) => dashes[Math.floor(implementation / 2) % 4];

  const element = (tag, properties = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, given] of Object.entries(properties)) {
      if (name in made) made[name] = given;
      else made.setAttribute(name, given);
    }
    made.append(...children.filter((child) => child != null));
    return made;
  };
  const mark = (implementation) => {
    const drawing = d3.create("svg:svg").attr("viewBox", "-10 -10 20 20").attr("aria-hidden", "true");
    drawing.append("path").attr("d", d3.symbol(symbol(implementation), 130)()).attr("fill", colour(implementation));
    return drawing.node();
  };

  return { data, rows, axes, varying, search, given, across, TRIAL, metrics, state, shown, byPoint, value, bounds, speedup, several, disturbed, isClear, label, unit, short, share, interval, median, times, colour, symbol, dash, element, mark };
})();
