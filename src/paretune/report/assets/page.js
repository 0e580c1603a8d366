"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("plot");
  if (!plot) return;
  const tip = document.getElementById("tip");
  const selects = { x: document.getElementById("axis-x"), y: document.getElementById("axis-y") };
  const others = document.getElementById("others");
  const NS = "http://www.w3.org/2000/svg";
  let chosen = data.selected;

  const make = (name, attributes, parent, text) => {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const axisOf = (side) => data.axes.find((a) => a.key === selects[side].value);
  const better = (axis, a, b) => (axis.better === "lower" ? a <= b : a >= b);

  function ticks(low, high, log) {
    const found = [];
    if (log) {
      const decades = Math.log10(high / low);
      const steps = decades > 2.5 ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
      for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
        for (const s of steps) found.push(s * 10 ** p);
    } else {
      const rough = (high - low) / 6;
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 2.5, 5, 10].find((s) => s * power >= rough) * power;
      for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(t);
    }
    return found.filter((t) => t >= low * (1 - 1e-9) - 1e-12 && t <= high * (1 + 1e-9) + 1e-12);
  }
  const tickText = (t) => String(Number(t.toPrecision(6)));

  // Maps values to pixels; a ratio of 4 or more between extremes reads best as a logarithm.
  function scaleOf(axis, points, from, to) {
    const values = points.flatMap((p) => p.v[axis.key]).filter((v) => v !== null);
    let low = Math.min(...values), high = Math.max(...values);
    // A limit that lies far off would squeeze all points into a corner.
    const reach = high - low || Math.abs(high);
    for (const { key, value } of data.limits) {
      const near = axis.log ? value > low / 2 && value < high * 2 : Math.abs(value - (low + high) / 2) < reach;
      if (key === axis.key && near) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    const log = axis.log && low > 0 && high / low >= 4;
    if (log) {
      const pad = (high / low) ** 0.06;
      low /= pad; high *= pad;
    } else {
      const pad = (high - low || Math.abs(high) || 1) * 0.07;
      low -= pad; high += pad;
    }
    const f = log ? Math.log : (v) => v;
    const at = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
    return { at, low, high, log, ticks: ticks(low, high, log) };
  }

  function stairs(points, X, Y, x, y) {
    const kept = points.filter(
      (p) => !points.some((q) => q !== p && better(x, q.v[x.key][0], p.v[x.key][0]) &&
        better(y, q.v[y.key][0], p.v[y.key][0]) &&
        (q.v[x.key][0] !== p.v[x.key][0] || q.v[y.key][0] !== p.v[y.key][0])));
    kept.sort((p, q) => (x.better === "lower" ? 1 : -1) * (p.v[x.key][0] - q.v[x.key][0]));
    return kept.map((p, i) => {
      const px = X.at(p.v[x.key][0]), py = Y.at(p.v[y.key][0]);
      return i ? `H${px}V${py}` : `M${px} ${py}`;
    }).join("");
  }

  function draw() {
    const x = axisOf("x"), y = axisOf("y");
    if (!x || !y) return;
    const wide = Math.max(280, plot.clientWidth);
    const high = Math.round(Math.max(300, Math.min(460, wide * 0.46)));
    const left = 58, right = wide - 16, top = 14, bottom = high - 50;
    const points = data.points.filter(
      (p) => p.v[x.key] && p.v[y.key] && (p.kind !== "other" || others.checked));
    plot.querySelector("svg")?.remove();
    const svg = make("svg", { viewBox: `0 0 ${wide} ${high}`, height: high, role: "group",
      "aria-label": `${y.label} against ${x.label}, ${points.length} trials` });
    plot.prepend(svg);
    if (!points.length) return;
    const X = scaleOf(x, points, left, right), Y = scaleOf(y, points, bottom, top);

    let last = -Infinity;
    for (const t of X.ticks) {
      const at = X.at(t);
      make("line", { class: "grid", x1: at, x2: at, y1: top, y2: bottom }, svg);
      if (at - last < 34) continue;
      make("text", { class: "tick", x: at, y: bottom + 18, "text-anchor": "middle" }, svg, tickText(t));
      last = at;
    }
    for (const t of Y.ticks) {
      const at = Y.at(t);
      make("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }, svg);
      make("text", { class: "tick", x: left - 8, y: at + 4, "text-anchor": "end" }, svg, tickText(t));
    }
    make("line", { class: "frame", x1: left, x2: right, y1: bottom, y2: bottom }, svg);
    const unit = (a) => (a.unit ? `${a.label} (${a.unit})` : a.label);
    const sense = (a, low, high_) => (a.better === "lower" ? low : high_);
    make("text", { class: "title", x: (left + right) / 2, y: high - 8, "text-anchor": "middle" },
      svg, unit(x));
    make("text", { class: "hint", x: x.better === "lower" ? left : right, y: high - 8,
      "text-anchor": x.better === "lower" ? "start" : "end" }, svg, sense(x, "← better", "better →"));
    const turned = make("text", { class: "title", "text-anchor": "middle",
      transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)` }, svg, unit(y));
    make("tspan", { class: "hint" }, turned, sense(y, "   ← better", "   better →"));

    for (const l of data.limits) {
      const across = l.key === x.key, S = across ? X : Y;
      if (l.key !== x.key && l.key !== y.key) continue;
      const upper = l.operator === "<=";
      if (upper ? l.value > S.high : l.value < S.low) continue;
      const off = upper ? l.value < S.low : l.value > S.high;
      const at = S.at(Math.min(Math.max(l.value, S.low), S.high));
      const text = off ? `${l.text} (off the chart)` : l.text;
      if (across) {
        const end = upper ? right : left, after = right - at > 200;
        make("rect", { class: "shade", x: Math.min(at, end), width: Math.abs(end - at), y: top, height: bottom - top }, svg);
        if (!off) make("line", { class: "limit", x1: at, x2: at, y1: top, y2: bottom }, svg);
        make("text", { class: "limit-text", x: at + (after ? 6 : -6), y: bottom - 8,
          "text-anchor": after ? "start" : "end" }, svg, text);
      } else {
        const end = upper ? top : bottom, below = bottom - at > 30;
        make("rect", { class: "shade", y: Math.min(at, end), height: Math.abs(end - at), x: left, width: right - left }, svg);
        if (!off) make("line", { class: "limit", y1: at, y2: at, x1: left, x2: right }, svg);
        make("text", { class: "limit-text", x: right - 6, y: at + (below ? 15 : -6), "text-anchor": "end" }, svg, text);
      }
    }
    const shown = points.filter((p) => p.kind !== "other");
    make("path", { class: "stairs", d: stairs(shown, X, Y, x, y) }, svg);

    const order = { other: 0, baseline: 1, member: 2 };
    const labels = [];
    for (const p of [...points].sort((a, b) => order[a.kind] - order[b.kind])) {
      const [vx, xl, xh] = p.v[x.key], [vy, yl, yh] = p.v[y.key];
      const px = X.at(vx), py = Y.at(vy);
      const colour = { member: "member", baseline: "base", other: "other" }[p.kind];
      const g = make("g", { class: `point ${colour}${p.n === chosen ? " chosen" : ""}`,
        tabindex: p.kind === "other" ? -1 : 0, role: "button", "data-n": p.n,
        "aria-label": `Trial ${p.n}: ${p.recipe}. ${x.label} ${p.t[x.key]}, ${y.label} ${p.t[y.key]}` }, svg);
      if (p.kind !== "other" || p.n === chosen) {
        const clip = (S, v) => Math.min(Math.max(v, S.low), S.high);
        if (xl !== null && xh > xl)
          make("line", { class: "bar", x1: X.at(clip(X, xl)), x2: X.at(clip(X, xh)), y1: py, y2: py }, g);
        if (yl !== null && yh > yl)
          make("line", { class: "bar", y1: Y.at(clip(Y, yl)), y2: Y.at(clip(Y, yh)), x1: px, x2: px }, g);
      }
      const solid = p.solid ? " solid" : "";
      make("circle", { class: "halo", cx: px, cy: py, r: 11, "pointer-events": "all" }, g);
      if (p.kind === "baseline")
        make("path", { class: `mark${solid}`, d: `M${px} ${py - 7.5}l7.5 7.5l-7.5 7.5l-7.5 -7.5z` }, g);
      else
        make("circle", { class: `mark${solid}`, cx: px, cy: py, r: p.kind === "other" ? 3 : 6 }, g);
      if (p.kind !== "other") labels.push([p.kind === "baseline" ? "baseline" : `${p.n}`, px, py]);
      g.addEventListener("pointerenter", () => showTip(p, px, py, wide));
      g.addEventListener("pointerleave", hideTip);
      g.addEventListener("focus", () => showTip(p, px, py, wide));
      g.addEventListener("blur", hideTip);
      g.addEventListener("click", () => choose(p.n));
      g.addEventListener("keydown", (event) => press(event, p.n));
    }
    const taken = [];
    for (const [text, px, py] of labels) {
      const width = text.length * 7 + 4;
      const spots = [[px + 10, py - 9], [px - 10 - width, py - 9], [px + 10, py + 17], [px - 10 - width, py + 17]];
      const free = spots.find(([lx, ly]) => lx > left && lx + width < right && ly > top + 8 &&
        !taken.some(([tx, ty, tw]) => lx < tx + tw && tx < lx + width && Math.abs(ly - ty) < 13));
      if (!free) continue;
      taken.push([...free, width]);
      make("text", { class: "number", x: free[0], y: free[1] }, svg, text);
    }
  }

  function press(event, number) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(number);
      return;
    }
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const x = axisOf("x").key;
    const line = data.points.filter((p) => p.kind !== "other" && p.v[x]).sort((a, b) => a.v[x][0] - b.v[x][0]);
    const next = line[line.findIndex((p) => p.n === number) + step];
    if (next) plot.querySelector(`.point[data-n="${next.n}"]`)?.focus();
  }

  function showTip(p, px, py, wide) {
    tip.textContent = "";
    const title = document.createElement("b");
    title.textContent = p.n ? `Trial ${p.n}` : "Baseline";
    const what = document.createElement("span");
    what.className = "soft";
    what.textContent = p.n ? p.recipe : "the model as it came";
    const list = document.createElement("dl");
    const add = (name, value) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      list.append(dt, dd);
    };
    for (const a of data.axes)
      if (a.main && p.t[a.key]) add(a.label, p.t[a.key] + (p.c[a.key] ? `, ${p.c[a.key]}` : ""));
    if (p.p !== null) add("on the frontier", `${(100 * p.p).toFixed(0)} % of resamples`);
    if (p.budget) add("budget", p.budget);
    tip.append(title, what, list);
    tip.hidden = false;
    const scale = plot.clientWidth / wide;
    const over = px * scale + tip.offsetWidth + 24 > plot.clientWidth;
    tip.style.left = `${Math.max(0, px * scale + (over ? -tip.offsetWidth - 14 : 14))}px`;
    tip.style.top = `${Math.max(0, py * scale - tip.offsetHeight / 2)}px`;
  }
  function hideTip() { tip.hidden = true; }

  function choose(number) {
    chosen = number;
    for (const article of document.querySelectorAll("article[data-n]"))
      article.hidden = Number(article.dataset.n) !== number;
    for (const row of document.querySelectorAll("tr[data-n]"))
      row.classList.toggle("chosen", Number(row.dataset.n) === number);
    for (const point of plot.querySelectorAll(".point"))
      point.classList.toggle("chosen", Number(point.dataset.n) === number);
  }

  for (const row of document.querySelectorAll("tr[data-n]"))
    row.addEventListener("click", () => {
      choose(Number(row.dataset.n));
      document.getElementById("detail").parentElement.scrollIntoView({ block: "nearest" });
    });
  for (const control of [selects.x, selects.y, others]) control.addEventListener("change", draw);
  document.getElementById("chart").hidden = false;
  let drawn = plot.clientWidth;
  draw();
  new ResizeObserver(() => requestAnimationFrame(() => {
    if (plot.clientWidth === drawn) return;
    drawn = plot.clientWidth;
    draw();
  })).observe(plot);
  const wanted = Number(/^#trial-(\d+)$/.exec(location.hash)?.[1] ?? chosen);
  choose(data.points.some((p) => p.n === wanted) ? wanted : chosen);
})();
