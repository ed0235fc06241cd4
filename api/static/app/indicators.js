// Indicators of the bars on the screen, as charts show them. The engine's features are its own.

/** Exponential moving average; begins with the simple one, as TA-Lib does. */
export function ema(values, period) {
  const found = new Array(values.length).fill(null);
  if (values.length < period) return found;
  let last = values.slice(0, period).reduce((sum, value) => sum + value, 0) / period;
  found[period - 1] = last;
  const weight = 2 / (period + 1);
  for (let index = period; index < values.length; index++) {
    last += weight * (values[index] - last);
    found[index] = last;
  }
  return found;
}

/** Bollinger bands: mean and two standard deviations around it, as {middle, upper, lower}. */
export function bollinger(values, period = 20, width = 2) {
  const bands = { middle: [], upper: [], lower: [] };
  values.forEach((_, index) => {
    const window = index + 1 < period ? null : values.slice(index + 1 - period, index + 1);
    const mean = window && window.reduce((sum, value) => sum + value, 0) / period;
    const spread =
      window && width * Math.sqrt(window.reduce((sum, value) => sum + (value - mean) ** 2, 0) / period);
    bands.middle.push(mean);
    bands.upper.push(window && mean + spread);
    bands.lower.push(window && mean - spread);
  });
  return bands;
}

/** Relative strength index with Wilder's smoothing, 0 to 100. */
export function rsi(values, period = 14) {
  const found = new Array(values.length).fill(null);
  let [gain, loss] = [0, 0];
  for (let index = 1; index < values.length; index++) {
    const step = values[index] - values[index - 1];
    const [up, down] = [Math.max(step, 0), Math.max(-step, 0)];
    if (index <= period) {
      gain += up / period;
      loss += down / period;
    } else {
      gain += (up - gain) / period;
      loss += (down - loss) / period;
    }
    if (index >= period) found[index] = gain + loss ? (100 * gain) / (gain + loss) : 50;
  }
  return found;
}

/** MACD line, signal line and histogram. */
export function macd(values, fast = 12, slow = 26, smooth = 9) {
  const [quick, calm] = [ema(values, fast), ema(values, slow)];
  const line = values.map((_, index) =>
    quick[index] === null || calm[index] === null ? null : quick[index] - calm[index],
  );
  const begin = line.findIndex((value) => value !== null);
  const signal = new Array(values.length).fill(null);
  if (begin >= 0) ema(line.slice(begin), smooth).forEach((value, index) => (signal[begin + index] = value));
  const histogram = line.map((value, index) =>
    value === null || signal[index] === null ? null : value - signal[index],
  );
  return { line, signal, histogram };
}
