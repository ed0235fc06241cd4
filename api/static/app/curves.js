// Equity beside buying and holding, and the drawdown below.

import { at, chart, faint, together } from "./charts.js";
import { el } from "./dom.js";
import * as format from "./format.js";
import { t } from "./words.js";

/** Make the curves. Returns {node, load(history), add(point), first()}. */
export function curves(signal) {
  let points = [];
  const main = chart({
    label: t("equity"),
    name: "equity",
    signal,
    number: (value) => format.number(value, 0),
    axis: false,
  });
  const below = chart({
    label: t("drawdown"),
    name: "drawdown",
    signal,
    number: (value) => format.percent(value, 2),
  });
  const { colours } = main;
  const plain = { priceLineVisible: false, lineWidth: 2 };
  const equity = main.chart.addLineSeries({ ...plain, color: colours.accent });
  const held = main.chart.addLineSeries({ ...plain, color: colours.muted, lineStyle: 2, lineWidth: 1 });
  const depth = below.chart.addAreaSeries({
    priceLineVisible: false,
    lineWidth: 1,
    lineColor: colours.down,
    topColor: faint(colours.down, 0.05),
    bottomColor: faint(colours.down, 0.35),
    priceFormat: { type: "custom", minMove: 1e-6, formatter: (value) => format.percent(value, 2) },
  });
  together(main.chart, below.chart);
  const series = [
    [equity, (point) => point.equity],
    [held, (point) => point.buy_and_hold],
    [depth, (point) => -point.drawdown],
  ];
  const node = el(
    "section",
    { class: "panel", "aria-labelledby": "equity" },
    el(
      "div",
      { class: "head" },
      el("h2", { id: "equity" }, t("equity")),
      el(
        "ul",
        { class: "legend" },
        el("li", { class: "line" }, t("equity")),
        el("li", { class: "dashes" }, t("buy_and_hold")),
      ),
    ),
    main.box,
    el("h3", {}, t("drawdown")),
    below.box,
  );

  function describe() {
    const [first, last] = [points[0], points.at(-1)];
    if (!last) return;
    main.describe(
      t("curve.label", {
        from: format.stamp(first.ts_close),
        to: format.stamp(last.ts_close),
        first: format.number(first.equity, 0),
        last: format.number(last.equity, 0),
      }),
    );
    below.describe(
      t("drawdown.label", {
        now: format.percent(last.drawdown, 2),
        most: format.percent(Math.max(...points.map((point) => point.drawdown)), 2),
      }),
    );
  }

  return {
    node,
    first: () => points[0],
    load(history) {
      points = history.points;
      for (const [line, of] of series)
        line.setData(points.map((point) => ({ time: at(point.ts_close), value: of(point) })));
      main.chart.timeScale().fitContent();
      describe();
    },
    add(point) {
      if (!points.length || point.ts_close <= points.at(-1).ts_close) return;
      points.push(point);
      for (const [line, of] of series) line.update({ time: at(point.ts_close), value: of(point) });
    },
  };
}
