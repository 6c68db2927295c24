"use strict";
// What the scripts of all pages use; it stands before them. No text of anybody becomes HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function clock(seconds) {                       // m:ss.s, as everywhere
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

function lastBefore(times, at) {                // number of the last time that is not after `at`, -1 if none
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1; else high = middle;
  }
  return low - 1;
}

function between(xs, ys, x) {                   // linear interpolation, ends held
  const k = lastBefore(xs, x);
  if (k < 0) return ys[0];
  if (k >= xs.length - 1) return ys[ys.length - 1];
  return ys[k] + (ys[k + 1] - ys[k]) * (x - xs[k]) / ((xs[k + 1] - xs[k]) || 1);
}
