// What is known of every symbol now: asked for once, then kept by the push.

import { link } from "./link.js";
import { get, Problem } from "./server.js";

const SPARKLINE = 60; // closes
const SKIPPED = 5; // closes in one frame after which the sparklines are asked for anew
const AGAIN = 5000; // ms, at the soonest

/** Events: `change`, once a picture at most, and `loaded`. */
class Market extends EventTarget {
  run = null;
  symbols = new Map(); // name -> {symbol, price, quality, sparkline, muted, signal, ts_close}
  portfolio = null;
  status = null;
  lastClose = null;
  #loading = null;
  #loadedAt = 0;
  #painting = false;

  constructor() {
    super();
    link.addEventListener("frame", ({ detail }) => this.#take(detail));
    link.addEventListener("reset", () => {
      this.lastClose = null;
      this.#again();
    });
    link.addEventListener("state", () => {
      if (link.state === "up" && Date.now() - this.#loadedAt > AGAIN) this.#again();
    });
    link.addEventListener("status", ({ detail }) => {
      this.status = detail;
      this.#changed();
    });
  }

  /** Ask for everything; calls while that is under way are one. */
  load() {
    this.#loading ??= this.#ask().finally(() => (this.#loading = null));
    return this.#loading;
  }

  /** The same where what is shown can wait: the next frame, or the link's return, tries again. */
  #again() {
    this.load().catch((error) => {
      if (!(error instanceof Problem)) throw error;
    });
  }

  async #ask() {
    const [run, symbols, signals, history] = await Promise.all([
      get("/run"),
      get("/symbols", { sparkline: SPARKLINE }),
      get("/signals/latest"),
      get("/portfolio/history", { points: 2 }),
    ]);
    const newest = new Map(signals.signals.map((signal) => [signal.symbol, signal]));
    if (this.run?.run_id !== run.run_id) this.lastClose = null;
    this.run = run;
    this.symbols = new Map(
      symbols.symbols.map((each) => [each.symbol, { ...each, signal: newest.get(each.symbol) }]),
    );
    this.portfolio = history.points.at(-1) ?? null;
    this.lastClose = Math.max(run.last_close ?? 0, this.lastClose ?? 0) || null;
    this.#loadedAt = Date.now();
    this.dispatchEvent(new Event("loaded"));
    this.#changed();
  }

  #take(frame) {
    if (frame.ts_close < (this.lastClose ?? 0)) return; // told again
    this.lastClose = frame.ts_close;
    for (const bar of frame.bars ?? []) this.#takeBar(bar, frame.ts_close);
    for (const signal of frame.signals ?? []) {
      const row = this.symbols.get(signal.symbol);
      if (row) row.signal = signal;
    }
    if (frame.portfolio) this.portfolio = frame.portfolio;
    for (const order of frame.orders ?? []) {
      const row = this.symbols.get(order.symbol);
      if (row && order.kind === "mute") row.muted = true;
      if (row && order.kind === "unmute") row.muted = false;
    }
    const unknown = (frame.bars ?? []).some((bar) => !this.symbols.has(bar.symbol));
    const late = Date.now() - this.#loadedAt > AGAIN;
    if (late && (unknown || frame.skipped > SKIPPED)) this.#again();
    this.#changed();
  }

  #takeBar(bar, tsClose) {
    const row = this.symbols.get(bar.symbol);
    if (!row) return;
    row.quality = bar.quality;
    if (bar.close !== null) row.price = bar.close;
    if (tsClose > (row.ts_close ?? 0)) {
      row.sparkline = [...row.sparkline, bar.close].slice(-SPARKLINE);
      const known = row.sparkline.filter((close) => close);
      row.change = known.length ? known.at(-1) / known[0] - 1 : null;
      row.ts_close = tsClose;
    }
  }

  #changed() {
    if (this.#painting) return;
    this.#painting = true;
    requestAnimationFrame(() => {
      this.#painting = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}

export const market = new Market();
