// A symbol's candles with indicators and markers of what was decided, and a pane below them.

import { at, chart, faint, points, together } from "./charts.js";
import { el } from "./dom.js";
import * as format from "./format.js";
import { bollinger, ema, macd, rsi } from "./indicators.js";
import { market } from "./market.js";
import { t } from "./words.js";

const MOST = 900; // bars on the screen
const OVERLAYS = ["ema", "bollinger", "volume", "markers"];
const PANES = ["rsi", "macd", "score"];
const KEPT = "nextgen-chart";

function kept() {
  try {
    return {
      overlays: ["ema", "volume", "markers"],
      pane: "score",
      ...JSON.parse(localStorage.getItem(KEPT)),
    };
  } catch {
    return { overlays: ["ema", "volume", "markers"], pane: "score" };
  }
}

/** Make the picture. Returns {node, load(bars, signals), add(bar, signals)}. */
export function candles(symbol, signal) {
  const wanted = kept();
  let bars = [];
  let signals = [];
  const main = chart({ label: symbol, name: "candles", signal });
  const below = chart({ label: symbol, name: "below", signal, number: (value) => format.number(value, 2) });
  const { colours } = main;
  const quiet = { priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false };
  const line = (of, colour, options = {}) =>
    of.chart.addLineSeries({ color: colour, lineWidth: 1, ...quiet, ...options });
  const price = main.chart.addCandlestickSeries({
    upColor: faint(colours.up, 0),
    downColor: colours.down,
    borderUpColor: colours.up,
    borderDownColor: colours.down,
    wickUpColor: colours.up,
    wickDownColor: colours.down,
  });
  const volume = main.chart.addHistogramSeries({
    priceScaleId: "volume",
    priceFormat: { type: "volume" },
    ...quiet,
  });
  main.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  price.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.2 } });
  const averages = [line(main, colours.accent), line(main, colours.warn)];
  const bands = [0, 1, 2].map((index) => line(main, colours.muted, { lineStyle: index ? 2 : 0 }));
  const lines = [line(below, colours.accent, { lineWidth: 2 }), line(below, colours.warn)];
  const bars_ = below.chart.addHistogramSeries({ ...quiet });
  let levels = [];
  together(main.chart, below.chart);

  function draw() {
    const known = bars.filter((bar) => bar.close !== null);
    const [times, closes] = [known.map((bar) => at(bar.ts_close)), known.map((bar) => bar.close)];
    price.setData(bars.map((bar) => candle(bar)));
    volume.setData(shows("volume") ? known.map((bar) => amount(bar)) : []);
    [9, 21].forEach((period, index) =>
      averages[index].setData(shows("ema") ? points(times, ema(closes, period)) : []),
    );
    const found = shows("bollinger") ? bollinger(closes) : null;
    ["middle", "upper", "lower"].forEach((name, index) =>
      bands[index].setData(found ? points(times, found[name]) : []),
    );
    price.setMarkers(shows("markers") ? signals.filter(acts).map(marker).reverse() : []);
    drawBelow(times, closes);
    describe(known);
  }

  function drawBelow(times, closes) {
    let [first, second, third, marks] = [[], [], [], []];
    if (wanted.pane === "rsi") [first, marks] = [rsi(closes), [30, 70]];
    if (wanted.pane === "macd") {
      const found = macd(closes);
      [first, second, third] = [found.line, found.signal, found.histogram];
    }
    if (wanted.pane === "score") {
      const scores = new Map(signals.map((each) => [at(each.ts_close), each.score]));
      const entry = market.run?.settings?.entry_score;
      [first, marks] = [times.map((time) => scores.get(time) ?? null), entry ? [-entry, 0, entry] : [0]];
    }
    lines[0].setData(points(times, first));
    lines[1].setData(second.length ? points(times, second) : []);
    bars_.setData(third.length ? shaded(points(times, third)) : []);
    levels.forEach((each) => lines[0].removePriceLine(each));
    levels = marks.map((level) =>
      lines[0].createPriceLine({
        price: level,
        color: colours.muted,
        lineWidth: 1,
        lineStyle: 2,
        axisLabelVisible: true,
      }),
    );
  }

  const shows = (name) => wanted.overlays.includes(name);
  const acts = (each) => each.action !== "HOLD";
  const tint = (value) => (value >= 0 ? colours.up : colours.down);
  const shaded = (found) => found.map((each) => ({ ...each, color: faint(tint(each.value ?? 0), 0.6) }));
  const amount = (bar) => ({
    time: at(bar.ts_close),
    value: bar.volume ?? 0,
    color: faint(tint(bar.close - bar.open), 0.35),
  });
  const candle = (bar) =>
    bar.close === null
      ? { time: at(bar.ts_close) }
      : { time: at(bar.ts_close), open: bar.open, high: bar.high, low: bar.low, close: bar.close };
  const marker = (each) => {
    const buys = each.action === "BUY";
    return {
      time: at(each.ts_close),
      position: buys ? "belowBar" : "aboveBar",
      shape: buys ? "arrowUp" : "arrowDown",
      color: buys ? colours.up : colours.down,
    };
  };

  function describe(known) {
    const [low, high] = [Math.min(...known.map((bar) => bar.low)), Math.max(...known.map((bar) => bar.high))];
    main.describe(
      t("candles.label", {
        symbol,
        n: format.count(known.length),
        last: format.price(known.at(-1)?.close),
        low: format.price(low),
        high: format.price(high),
        trades: format.count(signals.filter(acts).length),
      }),
    );
    below.describe(t(`pane.${wanted.pane}`));
  }

  function choose() {
    localStorage.setItem(KEPT, JSON.stringify(wanted));
    draw();
  }

  const overlays = OVERLAYS.map((name) =>
    el(
      "label",
      { class: "check" },
      el("input", {
        type: "checkbox",
        checked: shows(name),
        onchange: () => {
          wanted.overlays = shows(name)
            ? wanted.overlays.filter((each) => each !== name)
            : [...wanted.overlays, name];
          choose();
        },
      }),
      t(`overlay.${name}`),
    ),
  );
  const panes = PANES.map((name) =>
    el(
      "label",
      { class: "check" },
      el("input", {
        type: "radio",
        name: "pane",
        checked: wanted.pane === name,
        onchange: () => {
          wanted.pane = name;
          choose();
        },
      }),
      t(`pane.${name}`),
    ),
  );
  const node = el(
    "section",
    { class: "panel", "aria-labelledby": "candles" },
    el(
      "div",
      { class: "head" },
      el("h2", { id: "candles" }, t("candles")),
      el("fieldset", { class: "filters" }, el("legend", { class: "unseen" }, t("overlays")), overlays),
    ),
    main.box,
    el("fieldset", { class: "filters" }, el("legend", { class: "unseen" }, t("panes")), panes),
    below.box,
  );

  return {
    node,
    load(told, known) {
      [bars, signals] = [told.bars, known];
      draw();
    },
    add(bar, known) {
      if (bar.ts_close <= (bars.at(-1)?.ts_close ?? 0)) return;
      [bars, signals] = [[...bars, bar].slice(-MOST), known];
      draw();
    },
  };
}
