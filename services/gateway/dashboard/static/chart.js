// Charts over time: lines, or areas that are stacked. Their figures are also there as a table, for those who cannot see.
import { html, tickTimes, time, useEffect, useRef } from "./lib.js";
import { Table } from "./parts.js";

const COLOURS = ["#2f7de1", "#d9772b", "#2c9d5b", "#b04bc0", "#c43d4b", "#12a0a8", "#8a7a1f", "#7a7f8c"];
const HEIGHT = 200;

export const colourOf = (number) => COLOURS[number % COLOURS.length];

// Sums from the first series to each one; what is unknown counts as nothing.
function stacked(series) {
  const sums = [];
  series.forEach(({ values }, number) => sums.push(values.map((value, at) => (value ?? 0) + (number ? sums[number - 1][at] : 0))));
  return sums;
}

// Series with an interval, and its upper and lower ends one after another.
const ranged = (series) => series.filter((one) => one.high);
const edges = (series) => ranged(series).flatMap((one) => [one.high, one.low]);

function optionsOf(series, { stack, unit, width, low, high }) {
  const style = getComputedStyle(document.documentElement);
  const [text, line] = ["--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const range = (_chart, min, max) => [low ?? Math.min(0, min ?? 0), high ?? ((max ?? 0) > 0 ? max * 1.05 : 1)];
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range } },
    padding: [null, 30, null, null],
    axes: [{ ...axis, space: 90, values: (_chart, times) => tickTimes(times) }, { ...axis, size: 70, values: (_chart, ticks) => ticks.map(unit) }],
    series: [{}, ...series.map((one, number) => ({ label: one.name, stroke: colourOf(number), width: 2, spanGaps: true, points: { show: !stack && one.values.filter((value) => value != null).length < 12 }, ...(stack && { fill: `${colourOf(number)}66` }) })), ...edges(series).map(() => ({ spanGaps: true, points: { show: false } }))],
    bands: stack ? series.slice(1).map((_, number) => ({ series: [number + 2, number + 1] })) : ranged(series).map((one, number) => ({ series: [1, 2].map((edge) => series.length + 2 * number + edge), fill: `${colourOf(series.indexOf(one))}22` })),
  };
}

// Steps from the first with figures on, and at least a dozen: of a young system, an empty hour would hide the rest.
export function trimmed(steps, hasFigures) {
  const first = steps.findIndex(hasFigures);
  return steps.slice(Math.max(0, Math.min(first < 0 ? steps.length : first, steps.length - 12)));
}

// times: seconds since 1970. series: [{name, values}], in an order that stays; `low` and `high` of one are drawn as a band.
export function Chart({ label, times, series, unit, stack = false, low, high }) {
  const box = useRef(null);
  const names = series.map((one) => one.name).join("\n");
  const data = [times, ...(stack ? stacked(series) : series.map((one) => one.values)), ...edges(series)];
  const chart = useRef(null);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    if (!window.uPlot) return undefined; // the table below has the figures
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const draw = () => {
      if (chart.current) chart.current.destroy();
      chart.current = new window.uPlot(optionsOf(series, { stack, unit, width: box.current.clientWidth, low, high }), latest.current, box.current);
    };
    draw();
    const sizes = new ResizeObserver(() => chart.current.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    sizes.observe(box.current);
    dark.addEventListener("change", draw);
    return () => {
      sizes.disconnect();
      dark.removeEventListener("change", draw);
      chart.current.destroy();
      chart.current = null;
    };
  }, [names]);
  useEffect(() => {
    if (chart.current) chart.current.setData(latest.current);
  });
  const rows = times.map((at, number) => ({ at, values: series.map((one) => one.values[number]) })).filter((row) => row.values.some((value) => value != null && value !== 0));
  return html`<figure>
    <figcaption>${label}</figcaption>
    <div class="chart" role="img" aria-label=${`Chart: ${label}. The same figures are in the table below.`} ref=${box}></div>
    <ul class="legend">${series.map((one, number) => html`<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" fill=${colourOf(number)} /></svg> ${one.name}</li>`)}</ul>
    <details><summary>As a table</summary><${Table} label=${label} rows=${rows} keyOf=${(row) => row.at} empty="No figures in this time."
      columns=${[["Time", (row) => time(row.at)], ...series.map((one, number) => [one.name, (row) => (row.values[number] == null ? "" : unit(row.values[number])), "number"])]} /></details>
  </figure>`;
}
