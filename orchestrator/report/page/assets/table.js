"use strict";
// The rows as a table that sorts and opens, and the map of shapes by implementations.
const tables = (() => {
  const { data, varying, state, element } = report;
  const TURNED_FROM = 9; // more columns of implementations than this run off the page
  const CHUNK = 200;
  const order = { key: null, descending: false };
  const open = new Set();
  let limit = CHUNK;

  const figures = [
    { key: "latency_ms", heading: "Time (ms)", text: report.median },
    { key: "interval", heading: "95 % interval", value: (row) => row.figure.latency_ci_low_ms, text: report.interval },
    { key: "noise_pct", heading: "Noise (%)", text: (row) => report.short(row.figure.noise_pct) },
    { key: "speedup", heading: "Speed-up", value: (row) => report.speedup(row), text: (row) => report.times(report.speedup(row)) },
    { key: "peak_memory_mib", heading: "Memory (MiB)", text: (row) => report.short(row.figure.peak_memory_mib) },
    { key: "throughput_tokens_per_s", heading: "Tokens/s", text: (row) => report.short(row.figure.throughput_tokens_per_s) },
    { key: "tflops_per_s", heading: "TFLOP/s", text: (row) => report.short(row.figure.tflops_per_s) },
    { key: "ceiling_share", heading: "Of peak", text: (row) => report.share(row.figure.ceiling_share) },
    { key: "relative_error", heading: "Error", text: (row) => (row.figure.relative_error == null ? "N/A" : row.figure.relative_error.toExponential(1)) },
  ].filter(({ key }) => key === "interval" || (key === "speedup" ? !report.search : report.metrics.has(key)));
  const measured = figures.map((column) => ({ value: (row) => row.figure[column.key], number: true, ...column }));
  const first = measured.filter(({ key }) => key === "latency_ms"), rest = measured.filter(({ key }) => key !== "latency_ms");
  const columns = [
    { key: "implementation", heading: "Implementation", value: (row) => row.name },
    { key: "status", heading: "Status", value: (row) => `${row.ok ? 0 : 1}${row.outcome} ${row.flags}` },
    ...first,
    ...varying.map(({ name, heading, numeric }) => ({ key: `at.${name}`, heading, axis: true, number: numeric, value: (row) => row.at[name], text: (row) => String(row.at[name]) })),
    ...rest,
  ];
  const kind = (column) => [column.number ? "n" : "", column.axis ? "axis" : ""].join(" ").trim();

  const sorted = (shown) => {
    const column = columns.find(({ key }) => key === order.key);
    if (!column) return shown;
    const present = shown.filter((row) => column.value(row) != null), missing = shown.filter((row) => column.value(row) == null);
    return [...d3.sort(present, (a, b) => (order.descending ? d3.descending : d3.ascending)(column.value(a), column.value(b))), ...missing];
  };

  const status = (row) => {
    if (row.outcome === "not run") return element("span", { className: "quiet" }, "– not run");
    if (!row.ok) return element("span", { className: "bad" }, `✗ ${row.outcome}`);
    const badges = row.flags.map((flag) => element("span", { className: "badge" }, flag));
    return element("span", {}, element("span", { className: "good" }, "✓"), ...badges.flatMap((badge) => [" ", badge]));
  };

  // Paper repeats a table's head on each page, but not the buttons in it.
  const paperHead = () => element("thead", {}, element("tr", {}, ...columns.map((column) => element("th", { scope: "col", className: kind(column) }, column.heading))));

  const head = (redraw) => element("thead", {}, element("tr", {}, ...columns.map((column) => {
    const sort = () => {
      order.descending = order.key === column.key && !order.descending;
      order.key = column.key;
      redraw();
      document.querySelector(`#table button[data-key="${CSS.escape(column.key)}"]`).focus();
    };
    const direction = order.key !== column.key ? "none" : order.descending ? "descending" : "ascending";
    return element("th", { scope: "col", className: kind(column), "aria-sort": direction },
      element("button", { type: "button", "data-key": column.key, onclick: sort }, column.heading));
  })));

  const line = (row, redraw) => {
    const expanded = open.has(row.trial);
    const toggle = () => {
      expanded ? open.delete(row.trial) : open.add(row.trial);
      redraw();
      document.querySelector(`#table button[data-trial="${row.trial}"]`).focus();
    };
    const button = element("button", { type: "button", className: "toggle", "data-trial": row.trial, "aria-expanded": String(expanded) }, mark(row), row.name);
    const cells = columns.slice(1).map((column) => column.key === "status"
      ? element("td", { className: "status" }, status(row))
      : element("td", { className: kind(column) }, column.text(row)));
    const shape = varying.map(({ name, heading }) => `${heading} ${row.at[name]}`).join(", "); // on a phone, instead of the columns
    const made = element("tr", { className: "row" }, element("th", { scope: "row" }, button, element("span", { className: "shape-line" }, shape)), ...cells);
    made.addEventListener("click", (event) => { if (!event.target.closest("a") && !String(getSelection())) toggle(); });
    return expanded ? [made, element("tr", { className: "detail" }, element("td", { colSpan: columns.length }, detail(row)))] : [made];
  };

  const mark = (row) => element("span", { className: "mark" }, report.mark(row.implementation));

  const pairs = (entries) => element("dl", { className: "pairs" }, ...entries.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text))));

  const detail = (row) => {
    const body = element("div", { className: "detail-body" });
    if (row.details.error) body.append(element("div", {}, element("h3", { className: "bad" }, row.details.error.kind), element("pre", { tabIndex: 0 }, row.details.error.message)));
    if (row.repetitions) body.append(repetitions(row));
    if (row.details.kernels) body.append(kernels(row.details.kernels));
    if (row.details.notes.length) body.append(element("div", {}, element("h3", {}, "Notes"), ...row.details.notes.map((note) => element("p", {}, note))));
    const found = data.metrics.filter(({ name }) => row.figure[name] != null && !name.startsWith("latency_ci_"))
      .map(({ name, label, unit }) => [unit ? `${label} (${unit})` : label, report.short(row.figure[name])]);
    const phases = Object.entries(row.details.phases ?? {}).map(([name, seconds]) => [`${name} (s)`, report.short(seconds)]);
    body.append(pairs([...percentiles(row), ...found, ...phases, ...Object.entries(row.details.params), ...(row.details.attempts ? [["attempts", String(row.details.attempts)]] : [])]));
    if (row.log) body.append(element("p", {}, element("a", { href: encodeURI(row.log) }, row.ok ? "Log of this trial" : "Open the log"), element("span", { className: "quiet" }, ` ${row.log}`)));
    return body;
  };

  // One bar a kernel, as long as its share of one call's time.
  const kernels = (shares) => element("div", {}, element("h3", {}, "Kernels of one call"), element("table", { className: "kernels" },
    ...shares.map(([name, count, share]) => element("tr", {}, element("th", { scope: "row", title: name }, name), element("td", { className: "number" }, `${count} x`),
      element("td", { className: "number" }, `${(100 * share).toFixed(1)} %`), element("td", {}, element("meter", { min: 0, max: 1, value: share }))))));

  const percentiles = (row) => (row.details.percentiles ?? []).map((ms, index) => [`${["Least", "5th percentile", "Median (50th)", "95th percentile"][index]} (ms)`, report.short(ms)]);

  // Every repetition in its order, beside how often each time occurred.
  const repetitions = (row) => {
    const { rounds, step } = row.repetitions;
    let place = 0;
    const points = rounds.flatMap((values, round) => values.map((ms) => ({ ms, round, place: (place += step) })));
    const low = row.figure.latency_ci_low_ms, high = row.figure.latency_ci_high_ms, median = row.figure.latency_ms;
    const style = { background: "transparent", color: "var(--text)", fontSize: "12px" };
    const y = { label: null, ticks: 5, domain: padded(d3.extent(points, ({ ms }) => ms)), tickFormat: (value) => d3.format(".4~r")(value) };
    const [bottom, top] = y.domain, within = (ms) => Math.min(top, Math.max(bottom, ms));
    const band = low != null ? [Plot.rectY([0], { y1: within(low), y2: within(high), fill: report.colour(row.implementation), fillOpacity: 0.25 })] : [];
    const rule = Plot.ruleY([median], { stroke: "var(--text)", strokeWidth: 1.5 });
    const series = Plot.plot({ width: 640, height: 210, marginLeft: 56, style, y, x: { label: "repetition", labelArrow: "none", domain: [0, place + step] },
      marks: [...band, Plot.dot(points, { x: "place", y: "ms", r: 2.2, fill: report.colour(row.implementation), fillOpacity: 0.75, symbol: "circle" }), rule,
        Plot.tip(points, Plot.pointer({ x: "place", y: "ms", title: ({ ms, round }) => `${report.short(ms)} ms${rounds.length > 1 ? `\nround ${round + 1}` : ""}`, fill: "var(--raised)", stroke: "var(--strong-line)" }))] });
    const histogram = Plot.plot({ width: 320, height: 210, marginLeft: 56, style, y, x: { label: "repetitions", labelArrow: "none", ticks: 4 },
      marks: [Plot.rectX(points, Plot.binY({ x: "count" }, { y: "ms", thresholds: 30, fill: report.colour(row.implementation), fillOpacity: 0.75 })), rule] });
    for (const [drawn, what] of [[series, "Repetitions in order"], [histogram, "How often each time occurred"]]) {
      drawn.setAttribute("role", "img");
      drawn.setAttribute("aria-label", `${what}, ${row.name}: median ${report.short(median)} ms, 95 % interval ${report.interval(row)} ms`);
    }
    const thinned = step > 1 ? ` Every ${step}th is shown.` : "";
    const caption = `${points.length * step > points.length ? "About " : ""}${points.length * step} repetitions in ${rounds.length} ${rounds.length === 1 ? "process" : "processes"} (ms); line: median; band: 95 % interval.${thinned}`;
    return element("figure", { className: "chart" }, element("figcaption", {}, caption), element("div", { className: "pair-charts" }, series, histogram));
  };

  const padded = ([low, high]) => [low - 0.06 * (high - low || low), high + 0.06 * (high - low || low)];

  const draw = (shown, all = false) => {
    const redraw = () => draw(shown);
    const found = sorted(shown), count = all ? Math.min(found.length, 2000) : limit;
    document.getElementById("table").replaceChildren(all ? paperHead() : head(redraw), element("tbody", {}, ...found.slice(0, count).flatMap((row) => line(row, redraw))));
    const more = document.getElementById("more"), left = found.length - count;
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(left, CHUNK)} more of ${left}`;
    more.onclick = () => { limit += CHUNK; draw(shown); };
  };

  // Shapes by implementations; turned where there are too many of those for columns.
  let shapes = 24;
  const map = (shown, all = false) => {
    if (report.search) return; // no two rows of a search are of one shape
    const used = [...new Set(shown.map((row) => row.implementation))].sort((a, b) => a - b);
    const points = d3.groups(shown, (row) => row.point).map(([, group]) => group), count = all ? points.length : shapes;
    const made = (used.length >= TURNED_FROM ? turned : upright)(points.slice(0, count), used);
    const container = document.getElementById("map");
    container.replaceChildren(made);
    if (points.length > count) container.append(element("button", { type: "button", onclick: () => { shapes += 100; map(shown); } }, `${points.length - count} more shapes`));
    if (!points.length) container.replaceChildren(element("p", { className: "empty" }, "No row passes the filters."));
  };

  const named = (implementation, scope) => element("th", { scope }, element("span", { className: "mark" }, report.mark(implementation)), data.implementations[implementation]);

  const upright = (groups, used) => {
    const header = element("tr", {}, ...varying.map(({ heading }) => element("th", { scope: "col", className: "shape" }, heading)), ...used.map((implementation) => named(implementation, "col")));
    const body = groups.map((group) => element("tr", {}, ...varying.map(({ name }) => element("td", { className: "shape" }, String(group[0].at[name]))), ...cells(group, used)));
    return element("table", {}, element("thead", {}, header), element("tbody", {}, ...body));
  };

  const turned = (groups, used) => {
    const headers = varying.map(({ name, heading }) => element("tr", {}, element("th", { scope: "row", className: "shape" }, heading), ...groups.map(([row]) => element("th", { scope: "col" }, String(row.at[name])))));
    const columns = groups.map((group) => cells(group, used));
    const body = used.map((implementation, index) => element("tr", {}, named(implementation, "row"), ...columns.map((column) => column[index])));
    return element("table", { className: "turned" }, element("thead", {}, ...headers), element("tbody", {}, ...body));
  };

  const cells = (group, used) => {
    const timed = d3.group(d3.sort(group.filter((row) => row.figure.latency_ms), (row) => row.figure.latency_ms), (row) => data.kinds[row.implementation]);
    const own = new Map(group.map((row) => [row.implementation, row]));
    return used.map((implementation) => cell(own.get(implementation), timed.get(data.kinds[implementation]) ?? []));
  };

  // `timed`: the rows of this shape that do the same work, fastest first.
  const cell = (row, timed) => {
    const clear = timed.length < 2 || report.isClear(timed);
    if (!row || row.outcome === "not run") return element("td", { className: "quiet" }, "–");
    if (!row.ok) return element("td", { className: "cell-bad" }, `✗ ${row.outcome}`);
    if (!timed.length || row.figure.latency_ms == null) return element("td", {}, "✓");
    const slow = row.figure.latency_ms / timed[0].figure.latency_ms, flag = row.flags.length ? " !" : "";
    const title = `${report.short(row.figure.latency_ms)} ms${row.flags.length ? `, ${row.flags.join(", ")}` : ""}`;
    if (row === timed[0]) return element("td", { className: "cell-best", title }, `${timed.length > 1 ? (clear ? "★" : "☆") : "✓"} ${report.short(row.figure.latency_ms)} ms${flag}`);
    const made = element("td", { className: "cell-ok", title }, `${report.times(slow)}${flag}`);
    made.style.setProperty("--slow", String(Math.min(1, Math.log2(slow) / 4)));
    return made;
  };

  return { draw, map, reset: () => { limit = CHUNK; } };
})();
