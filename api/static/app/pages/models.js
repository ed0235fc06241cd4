// How right the models have been while they ran, and which ones they are.

import { calibration } from "../calibration.js";
import * as cells from "../cells.js";
import { at, chart } from "../charts.js";
import { el, mark, put } from "../dom.js";
import { drift } from "../drift.js";
import * as format from "../format.js";
import { market } from "../market.js";
import { refresh } from "../refresh.js";
import { get } from "../server.js";
import { table } from "../table.js";
import { t } from "../words.js";

const LEGS = ["score", "forecast", "policy", "sentiment"];

const [LEAST, MOST] = [0.3, 0.7]; // of the hit rates that are drawn; chance is in the middle
const place = (share) => 100 * Math.min(Math.max((share - LEAST) / (MOST - LEAST), 0), 1);

/** The interval as a line over 30 to 70 %, with a tick where the rate is. */
function interval(cell, row) {
  const line = (cell.line ??= cell.appendChild(
    el("span", { class: "interval", "aria-hidden": "true" }, el("span"), el("i")),
  ));
  const said = (cell.said ??= cell.appendChild(el("span")));
  const [low, high] = row.interval;
  line.hidden = row.n === 0;
  line.firstChild.style.left = `${place(low)}%`;
  line.firstChild.style.width = `${place(high) - place(low)}%`;
  line.lastChild.style.left = `${place(row.hit_rate ?? 0)}%`;
  put(said, row.n ? `${format.percent(low, 1)} … ${format.percent(high, 1)}` : format.NONE);
}

function skillOf(ic) {
  if (!ic) return format.NONE;
  const [value, low, high] = ic.map((each) => format.signed(each, 3));
  return `${value} (${low} … ${high})`;
}

const ACCURACY = () => [
  {
    key: "leg",
    head: t("leg"),
    show: cells.text((row) => t(row.name === "score" ? "score.fused" : `leg.${row.name}`)),
  },
  { key: "n", head: "n", numeric: true, show: cells.text((row) => format.count(row.n)) },
  {
    key: "rate",
    head: t("hit_rate"),
    numeric: true,
    show: cells.text((row) => format.percent(row.hit_rate, 1)),
  },
  { key: "interval", head: t("interval_95"), numeric: true, show: interval },
  {
    key: "ic",
    head: "IC",
    numeric: true,
    title: t("ic.about"),
    show: cells.movement(
      (row) => row.ic,
      (value) => format.signed(value, 3),
    ),
  },
];

const VERSIONS = () => [
  { key: "name", head: t("model"), sort: (row) => row.name, show: cells.text((row) => row.name) },
  { key: "version", head: t("version"), show: cells.text((row) => row.version) },
  { key: "kind", head: t("kind"), sort: (row) => row.kind, show: cells.text((row) => t(`leg.${row.kind}`)) },
  {
    key: "interval",
    head: t("bar_interval"),
    numeric: true,
    show: cells.text((row) => (row.interval_ns ? format.seconds(row.interval_ns / 1e9) : format.NONE)),
  },
  {
    key: "skill",
    head: t("leg.skill"),
    numeric: true,
    show: cells.text((row) => format.number(row.skill.value)),
  },
  {
    key: "ic",
    head: t("ic.trained"),
    numeric: true,
    title: t("ic.trained.about"),
    show: cells.text((row) => skillOf(row.skill.ic)),
  },
  { key: "schema", head: t("schema"), show: cells.text((row) => row.schema_hash ?? format.NONE) },
  {
    key: "used",
    head: t("in_use"),
    sort: (row) => (row.in_use ? 0 : 1),
    show: (cell, row) => {
      put(cell, t(row.in_use ? "yes" : "no"));
      mark(cell, "class", row.in_use ? "strong" : "quiet");
    },
  },
];

/** Show the models. */
export function page(root, { signal }) {
  const failed = el("p", { class: "problem", role: "alert" });
  const about = el("p", { class: "quiet" });
  const choice = el(
    "select",
    { id: "symbol", onchange: () => again() },
    el("option", { value: "" }, t("all_symbols")),
    [...market.symbols.keys()].sort().map((name) => el("option", { value: name }, name)),
  );
  const right = table({ caption: t("accuracy"), columns: ACCURACY(), keyOf: (row) => row.name });
  const diagram = el("div", {});
  const over = chart({
    label: t("over_time"),
    name: "over-time",
    signal,
    number: (value) => format.percent(value, 0),
  });
  const shares = {
    priceFormat: { type: "custom", minMove: 0.001, formatter: (value) => format.percent(value, 0) },
    priceLineVisible: false,
    lineWidth: 2,
  };
  const rate = over.chart.addLineSeries({ ...shares, color: over.colours.accent });
  const abstained = over.chart.addLineSeries({ ...shares, color: over.colours.warn, lineStyle: 2 });
  rate.createPriceLine({
    price: 0.5,
    color: over.colours.muted,
    lineWidth: 1,
    lineStyle: 2,
    axisLabelVisible: false,
  });
  const strange = drift(signal);
  const versions = table({
    caption: t("versions"),
    columns: VERSIONS(),
    keyOf: (row) => row.name,
    sorted: { key: "used", down: false },
  });
  root.append(
    el(
      "div",
      { class: "head" },
      el("h1", {}, t("page.models")),
      el("div", { class: "filters" }, el("label", { for: "symbol" }, t("symbol")), choice),
    ),
    failed,
    el(
      "div",
      { class: "columns" },
      el(
        "section",
        { class: "panel", "aria-labelledby": "accuracy" },
        el("h2", { id: "accuracy" }, t("accuracy")),
        about,
        right.node,
        el(
          "div",
          { class: "head" },
          el("h3", {}, t("over_time")),
          el(
            "ul",
            { class: "legend" },
            el("li", { class: "line" }, t("hit_rate")),
            el("li", { class: "dashes warned" }, t("abstained")),
          ),
        ),
        over.box,
      ),
      el(
        "section",
        { class: "panel", "aria-labelledby": "calibration" },
        el("h2", { id: "calibration" }, t("calibration")),
        el("p", { class: "quiet" }, t("calibration.about")),
        diagram,
      ),
    ),
    strange.node,
    el(
      "section",
      { class: "panel", "aria-labelledby": "versions" },
      el("h2", { id: "versions" }, t("versions")),
      el("p", { class: "quiet" }, t("versions.about")),
      versions.node,
    ),
  );
  const tell = (problem) => put(failed, problem ? t("problem", { why: problem.message }) : "");

  async function load() {
    const asked = { symbol: choice.value || null };
    const [found, drifted] = await Promise.all([get("/accuracy", asked), get("/drift", asked)]);
    if (signal.aborted) return;
    strange.update(drifted);
    put(about, t("accuracy.about", { from: format.stamp(found.since), to: format.stamp(found.until) }));
    right.update(LEGS.filter((name) => found.legs[name]).map((name) => ({ name, ...found.legs[name] })));
    diagram.replaceChildren(
      found.calibration.some((range) => range.n)
        ? calibration(found.calibration)
        : el("p", { class: "empty" }, t("none")),
    );
    const stretches = found.over_time.filter((each) => each.n > 0);
    const series = (of) =>
      stretches
        .filter((each) => of(each) !== null)
        .map((each) => ({ time: at(each.since), value: of(each) }));
    rate.setData(series((each) => each.hit_rate));
    abstained.setData(series((each) => each.abstained));
    over.chart.timeScale().fitContent();
    over.describe(
      `${t("over_time")}: ${stretches.map((each) => `${format.clock(each.since)} ${format.percent(each.hit_rate, 0)}`).join("; ")}`,
    );
  }

  const again = refresh(load, 5, signal, tell);
  refresh(async () => versions.update((await get("/models")).models), 60, signal, tell);
}
