// How the engine itself does: parts, latencies, feeds, what was lost and refused.

import * as cells from "../cells.js";
import { el, mark, put } from "../dom.js";
import * as format from "../format.js";
import { market } from "../market.js";
import { orders } from "../orders.js";
import { refresh } from "../refresh.js";
import { get } from "../server.js";
import { table } from "../table.js";
import { code, t } from "../words.js";

const NS = 1e9;
const milliseconds = (value) => format.number(value, value < 1 ? 3 : 1);
const numeric = (key, head, of) => ({
  key,
  head,
  numeric: true,
  sort: of,
  show: cells.text((row) => format.count(of(row))),
});
const { plain } = cells;
const moment = (key, head, of) => ({ key, head, show: cells.moment(of) });

function state(cell, part) {
  mark(cell, "class", ["down", "cut"].includes(part.state) ? "warn" : part.state === "up" ? "good" : "quiet");
  put(cell, code(part.state));
}

/** Show the system. */
export function page(root, { signal }) {
  const failed = el("p", { class: "problem", role: "alert" });
  const zone = format.zone();
  const run = cells.figures(t("run"));
  const parts = table({
    caption: t("parts"),
    keyOf: (row) => row.name,
    columns: [
      plain("name", t("part"), (row) => row.name),
      { key: "state", head: t("state"), show: state },
      {
        key: "old",
        head: t("heard"),
        numeric: true,
        show: cells.text((row) => format.seconds(row.seconds_old)),
      },
      plain("note", t("note"), (row) => row.note),
    ],
  });
  const stages = table({
    caption: t("stages"),
    keyOf: (row) => row.name,
    empty: t("stages.none"),
    columns: [
      plain("name", t("stage"), (row) => row.name),
      numeric("count", t("messages"), (row) => row.count),
      {
        key: "p50",
        head: "p50 ms",
        numeric: true,
        sort: (row) => row.p50_ms,
        show: cells.text((row) => milliseconds(row.p50_ms)),
      },
      {
        key: "p99",
        head: "p99 ms",
        numeric: true,
        sort: (row) => row.p99_ms,
        show: cells.text((row) => milliseconds(row.p99_ms)),
      },
    ],
  });
  const feeds = table({
    caption: t("feeds"),
    keyOf: (row) => row.feed,
    empty: t("feeds.none"),
    columns: [
      plain("feed", t("feed"), (row) => row.feed),
      { key: "state", head: t("state"), show: state },
      moment("at", t("time_in", { zone }), (row) => row.at),
      plain("counts", t("counts"), (row) =>
        Object.entries(row.counts)
          .map(([name, value]) => `${code(name)} ${format.count(value)}`)
          .join(", "),
      ),
      plain("note", t("note"), (row) => row.note),
    ],
  });
  const holes = table({
    caption: t("holes"),
    keyOf: (row) => `${row.feed} ${row.symbol} ${row.ts_from} ${row.first_id}`,
    empty: t("holes.none"),
    columns: [
      moment("from", t("time_in", { zone }), (row) => row.ts_from),
      plain("feed", t("feed"), (row) => row.feed),
      plain("symbol", t("symbol"), (row) => row.symbol),
      plain("cause", t("cause"), (row) => code(row.cause)),
      plain("state", t("state"), (row) => code(row.state)),
      {
        key: "lasted",
        head: t("lasted"),
        numeric: true,
        show: cells.text((row) =>
          row.ts_to === null ? format.NONE : format.seconds((row.ts_to - row.ts_from) / NS),
        ),
      },
      numeric("trades", t("fetched"), (row) => row.trades),
    ],
  });
  const gaps = table({
    caption: t("gaps"),
    keyOf: (row) => `${row.symbol} ${row.venue} ${row.first_id}`,
    empty: t("gaps.none"),
    columns: [
      plain("symbol", t("symbol"), (row) => row.symbol),
      plain("venue", t("venue"), (row) => row.venue),
      moment("from", t("time_in", { zone }), (row) => row.ts_from),
      numeric("missing", t("missing"), (row) => row.missing),
      numeric("filled", t("filled"), (row) => row.filled),
    ],
  });
  const tally = (caption, empty) =>
    table({
      caption,
      keyOf: (row) => row.name,
      empty,
      columns: [
        plain("name", t("name"), (row) => code(row.name)),
        {
          key: "n",
          head: t("count"),
          numeric: true,
          show: cells.text((row) =>
            Number.isInteger(row.n) ? format.count(row.n) : format.number(row.n, 1),
          ),
        },
      ],
    });
  const refused = tally(t("rejections"), t("rejections.none"));
  const counted = tally(t("tallies"), t("none"));
  const own = tally(t("api"), t("none"));
  const record = orders(signal);
  const panel = (id, title, made) =>
    el("section", { class: "panel", "aria-labelledby": id }, el("h2", { id }, title), made.node);
  root.append(
    el("h1", {}, t("page.system")),
    failed,
    run.node,
    el(
      "div",
      { class: "thirds" },
      el("div", {}, panel("parts", t("parts"), parts), panel("stages", t("stages"), stages)),
      el(
        "div",
        {},
        panel("feeds", t("feeds"), feeds),
        panel("holes", t("holes"), holes),
        panel("gaps", t("gaps"), gaps),
        panel("orders", t("orders"), record),
      ),
      el(
        "div",
        {},
        panel("refused", t("rejections"), refused),
        panel("counted", t("tallies"), counted),
        panel("own", t("api"), own),
      ),
    ),
  );
  const listed = (counts) => Object.entries(counts).map(([name, n]) => ({ name, n }));

  function show() {
    parts.update(market.status?.components ?? []);
  }

  async function load() {
    const [found, told] = await Promise.all([get("/metrics"), get("/run")]);
    if (signal.aborted) return;
    run.update([
      { name: t("run"), value: told.run_id.slice(0, 8) || format.NONE, title: told.run_id },
      { name: t("profile"), value: told.profile ?? format.NONE },
      { name: t("store"), value: told.store },
      { name: t("running"), value: t(told.running ? "yes" : "no") },
      { name: t("started"), value: format.stamp(told.started) },
      { name: t("finished"), value: format.stamp(told.finished) },
      { name: t("cores"), value: format.number(found.run?.cores_used) },
      {
        name: t("memory"),
        value: found.run?.memory_bytes
          ? `${format.count(found.run.memory_bytes / 2 ** 20)} MiB`
          : format.NONE,
      },
    ]);
    stages.update(Object.entries(found.stages).map(([name, each]) => ({ name, ...each })));
    feeds.update(found.feeds);
    refused.update(listed(found.rejected));
    counted.update(listed(found.tallies));
    own.update(listed(found.api));
  }

  async function loadLosses() {
    const [lost, missing] = await Promise.all([get("/holes", { limit: 50 }), get("/gaps", { limit: 50 })]);
    holes.update(lost.holes);
    gaps.update(missing.gaps);
  }

  const tell = (problem) => put(failed, problem ? t("problem", { why: problem.message }) : "");
  market.addEventListener("change", show, { signal });
  show();
  refresh(load, 2, signal, tell);
  refresh(loadLosses, 10, signal, tell);
}
