// How far the market is from what the forecast learned, and whether its intervals hold.

import * as cells from "./cells.js";
import { at, chart } from "./charts.js";
import { el } from "./dom.js";
import * as format from "./format.js";
import { t } from "./words.js";

const KINDS = { hidden: "accent", tokens: "violet" };

/** Make the part. Returns {node, update(found)}. */
export function drift(signal) {
  const figures = cells.figures(t("drift"));
  const over = chart({
    label: t("drift.strangeness"),
    name: "over-time",
    signal,
    number: (value) => format.percent(value, 0),
  });
  const lines = Object.entries(KINDS).map(([kind, colour]) => [
    kind,
    over.chart.addLineSeries({
      priceFormat: { type: "custom", minMove: 0.001, formatter: (value) => format.percent(value, 0) },
      priceLineVisible: false,
      lineWidth: 2,
      color: over.colours[colour],
    }),
  ]);
  lines[0][1].createPriceLine({
    price: 1,
    color: over.colours.warn,
    lineWidth: 1,
    lineStyle: 2,
    title: t("drift.limit"),
  });
  const node = el(
    "section",
    { class: "panel", "aria-labelledby": "drift" },
    el("h2", { id: "drift" }, t("drift")),
    el("p", { class: "quiet" }, t("drift.about")),
    figures.node,
    el(
      "div",
      { class: "head" },
      el("h3", {}, t("drift.strangeness")),
      el(
        "ul",
        { class: "legend" },
        Object.keys(KINDS).map((kind) => el("li", { class: kind }, t(`drift.${kind}`))),
      ),
    ),
    over.box,
  );

  function update({ n, strange, intervals, over_time: points }) {
    const [low, high] = intervals.interval.map((each) => format.percent(each, 1));
    figures.update([
      {
        name: t("drift.coverage", { promised: format.percent(intervals.promised, 0) }),
        value: `${format.percent(intervals.coverage, 1)} (n ${format.count(intervals.n)})`,
        title: intervals.n ? t("drift.coverage.about", { low, high, n: intervals.n }) : null,
      },
      { name: t("drift.below"), value: format.count(intervals.below) },
      { name: t("drift.above"), value: format.count(intervals.above) },
      { name: t("drift.strange"), value: `${format.percent(strange, 1)} (n ${format.count(n)})` },
    ]);
    for (const [kind, line] of lines) {
      line.setData(points.map((point) => ({ time: at(point.since), value: point[kind] })));
    }
    over.chart.timeScale().fitContent();
    over.describe(
      `${t("drift.strangeness")}: ${points
        .map((point) => `${format.clock(point.since)} ${format.percent(point.hidden, 0)}`)
        .join("; ")}`,
    );
  }

  return { node, update };
}
