// Players, time axes, heat maps, two videos in step, sortable tables.
(() => {
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

  class HeatMap {
    constructor(canvas, maps) {
      this.canvas = canvas;
      this.maps = maps.map(map => ({...map, bytes: Uint8Array.from(atob(map.values), c => c.charCodeAt(0))}));
      this.opacity = 0.6;
      this.show(0);
    }
    show(number) {
      this.map = this.maps[number];
      this.canvas.width = this.map.width;
      this.canvas.height = this.map.height;
      this.context = this.canvas.getContext("2d");
      this.image = this.context.createImageData(this.map.width, this.map.height);
    }
    draw(at) {
      const {seconds, bytes, width, height} = this.map, size = width * height;
      const first = clamp(lastBefore(seconds, at), 0, seconds.length - 1);
      const second = Math.min(first + 1, seconds.length - 1);
      const share = clamp((at - seconds[first]) / ((seconds[second] - seconds[first]) || 1), 0, 1);
      for (let i = 0; i < size; i++) {
        const value = (1 - share) * bytes[first * size + i] + share * bytes[second * size + i];
        this.image.data[4 * i] = 255;             // from red to yellow: readable in every kind of color vision
        this.image.data[4 * i + 1] = value;
        this.image.data[4 * i + 2] = value / 4;
        this.image.data[4 * i + 3] = value * this.opacity;
      }
      this.context.putImageData(this.image, 0, 0);
    }
  }

  class Skeleton {                                // of the person who is followed; see skeleton.py for its rows
    constructor(canvas, about) {
      Object.assign(this, about, {canvas, context: canvas.getContext("2d"), shown: true});
      this.bytes = Uint8Array.from(atob(about.rows), c => c.charCodeAt(0));
    }
    joint(row, number) {                          // [x, y in shares of the picture, whether it is faint]; of nobody null
      const place = 3 * (row * this.joints + number), [low, middle, high] = this.bytes.subarray(place, place + 3);
      if ((low & middle & high) === 255) return null;
      const [begin, wide] = this.reach, value = low | middle << 8 | high << 16;
      return [(value & 4095) / 4094 * wide + begin, (value >> 12 & 2047) / 2046 * wide + begin, value >> 23];
    }
    at(time) {                                    // joints of a time, between two rows by their times; [] in a gap
      const {times} = this, row = lastBefore(times, time + 1e-3), length = times[row + 1] - times[row];
      if (row < 0 || !this.joint(row, 0)) return [];
      const joined = length <= this.longest && this.joint(row + 1, 0);
      if (!joined && time - times[row] > this.step) return [];
      const share = joined ? clamp((time - times[row]) / length, 0, 1) : 0;
      return Array.from({length: this.joints}, (_, number) => {
        const [x, y, faint] = this.joint(row, number), [u, v, w] = this.joint(share ? row + 1 : row, number);
        return [x + share * (u - x), y + share * (v - y), faint || w];
      });
    }
    draw(time) {
      const {canvas: {width, height}, context} = this, found = this.shown ? this.at(time) : [];
      context.clearRect(0, 0, width, height);
      context.lineCap = "round";
      if (!found.length) return;
      for (const [one, other, side] of this.lines) {
        const [[x, y, faint], [u, v, hidden]] = [found[one], found[other]];
        context.globalAlpha = faint || hidden ? 0.25 : 0.9;
        context.beginPath();
        context.moveTo(x * width, y * height);
        context.lineTo(u * width, v * height);
        for (const [color, wide] of [["#000", 5], [{left: "#28a0ff", right: "#ff7828"}[side] ?? "#f0f0f0", 3]]) {
          Object.assign(context, {strokeStyle: color, lineWidth: wide * devicePixelRatio});
          context.stroke();
        }
      }
    }
  }

  class Player {
    constructor(root, about) {
      Object.assign(this, {root, about, at: 0, sought: 0, span: null, moved: () => {}});
      this.video = find("video", root);
      this.timeline = find(".timeline", root);
      this.cursor = find(".cursor", root);
      this.now = find(".now", root);
      this.values = all(".track .value", root);
      const [heat, skeleton] = ["heat", "skeleton"].map(name => find(`canvas.${name}`, root));
      this.heat = heat && new HeatMap(heat, about.maps);
      this.skeleton = skeleton && new Skeleton(skeleton, about.skeleton);
      this.timeline.addEventListener("pointerdown", event => this.drag(event));
      this.cursor.addEventListener("keydown", event => this.key(event));
      for (const button of all(".key", root)) button.addEventListener("click", () => this.seek(+button.dataset.at));
      if (this.video) this.follow();
      if (this.video) this.fit();
      this.controls();
      this.draw();
    }
    fit() {                                       // the heat map lies over the middle square, which the network saw
      const place = () => {
        const {videoWidth, videoHeight, clientWidth, clientHeight} = this.video;
        const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
        const [wide, high] = [videoWidth * scale, videoHeight * scale], side = Math.min(wide, high);
        if (!side) return;
        if (this.heat) Object.assign(this.heat.canvas.style, {width: `${side}px`, height: `${side}px`});
        if (!this.skeleton) return;
        const {canvas} = this.skeleton;
        Object.assign(canvas.style, {width: `${wide}px`, height: `${high}px`});
        Object.assign(canvas, {width: wide * devicePixelRatio, height: high * devicePixelRatio});
        this.draw();                              // a canvas of another size is empty
      };
      this.video.addEventListener("loadedmetadata", place);
      new ResizeObserver(place).observe(this.video);
    }
    get time() { return this.video ? this.video.currentTime - this.about.offset : this.at; }
    get rate() { return +(find("[data-do=speed]", this.root)?.value ?? 1); }
    seek(seconds, tell = true) {
      this.at = clamp(seconds, 0, this.about.duration);
      if (this.video) {
        this.video.currentTime = Math.max(this.at + this.about.offset, 0);
        this.sought = this.video.currentTime;
      }
      this.draw(this.at);
      if (tell) this.moved();
    }
    play(span = null, tell = true) {              // of a moment, or on from here
      this.span = span;
      if (span) this.seek(span[0], tell);
      this.video?.play().catch(() => {});         // a file that does not play is shown as such by the browser
    }
    controls() {
      const act = (name, event, work) => find(`[data-do=${name}]`, this.root)?.addEventListener(event, work);
      act("play", "click", () => this.toggle());
      act("back", "click", () => this.step(-1));
      act("forward", "click", () => this.step(1));
      act("speed", "change", () => { this.video.playbackRate = this.rate; });
      act("opacity", "input", event => { this.heat.opacity = event.target.value / 100; this.draw(); });
      act("skeleton", "change", event => { this.skeleton.shown = event.target.checked; this.draw(); });
      act("map", "change", event => { this.heat.show(+event.target.value); this.draw(); });
    }
    toggle() {
      if (!this.video) return;
      if (this.video.paused) this.play(this.repeats ? this.span : null); else this.video.pause();
    }
    get repeats() { return find("[data-do=repeat]", this.root)?.checked ?? false; }
    shownAt(number) {                             // seconds of a picture, by its time stamp
      const {times, first, step} = this.about.shown;
      return times ? times[number] : first + number * step;
    }
    get pictures() { return this.about.shown.count ?? this.about.shown.times?.length ?? 0; }
    numberAt(time) {                              // of the picture that is shown
      const {times, first, step} = this.about.shown;
      const found = times ? lastBefore(times, time + 1e-3) : Math.floor((time - first) / step + 1e-3);
      return clamp(found, 0, this.pictures - 1);
    }
    step(by) {
      this.video.pause();
      const count = this.pictures;
      if (!count) return this.seek(this.time + by / 25);
      const number = clamp(this.numberAt(this.time) + by, 0, count - 1);
      const next = number + 1 < count ? this.shownAt(number + 1) : this.shownAt(number) + 0.02;
      this.seek((this.shownAt(number) + next) / 2);         // the middle of it, so that rounding shows no other
    }
    follow() {
      const end = () => {                         // of the moment that plays
        if (this.span && this.repeats) return this.play(this.span);
        this.video.pause();
        this.span = null;
      };
      const tick = () => {
        this.draw();
        if (this.span && !this.video.paused && !this.video.seeking && this.time >= this.span[1]) end();
      };
      this.video.addEventListener("seeking", () => {        // by the browser's own slider: the other film follows
        if (this.video.paused && Math.abs(this.video.currentTime - this.sought) > 0.01) this.moved();
        this.sought = this.video.currentTime;
      });
      this.video.addEventListener("ended", end);  // it may be a picture shorter than the moment
      for (const event of ["timeupdate", "seeked", "loadedmetadata", "pause"]) this.video.addEventListener(event, tick);
      if (this.video.requestVideoFrameCallback) {
        const next = () => { tick(); this.video.requestVideoFrameCallback(next); };
        this.video.requestVideoFrameCallback(next);
      } else {
        let asked = 0;                            // one loop, however often it is played and paused
        const next = () => { tick(); asked = this.video.paused ? 0 : requestAnimationFrame(next); };
        this.video.addEventListener("play", () => { asked ||= requestAnimationFrame(next); });
      }
    }
    draw(time = this.time) {
      const at = clamp(time, 0, this.about.duration);
      this.cursor.style.left = `${100 * at / (this.about.duration || 1)}%`;
      this.now.textContent = clock(at);
      this.cursor.setAttribute("aria-valuenow", at.toFixed(2));
      this.cursor.setAttribute("aria-valuetext", fill(data.texts.at,
        {time: clock(at), duration: clock(this.about.duration)}));
      this.values.forEach((shown, number) => {
        const {start, values} = this.about.curves[number];
        const value = values[clamp(lastBefore(start, at), 0, values.length - 1)];
        shown.textContent = value?.toPrecision(3) ?? "";         // null where a row has no number
      });
      this.heat?.draw(at);
      this.skeleton?.draw(this.pictures ? this.shownAt(this.numberAt(at)) : at);
    }
    drag(event) {
      if (event.button) return;                   // of the left one alone
      const box = this.timeline.getBoundingClientRect();
      const jump = one => this.seek((one.clientX - box.left) / box.width * this.about.duration);
      this.span = null;
      jump(event);
      const stop = () => {
        this.cursor.focus({preventScroll: true});           // so that arrow keys go on from here
        removeEventListener("pointermove", jump);
        for (const name of ["pointerup", "pointercancel"]) removeEventListener(name, stop);
      };
      addEventListener("pointermove", jump);
      for (const name of ["pointerup", "pointercancel"]) addEventListener(name, stop);
    }
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const by = (event.shiftKey ? 10 : 1) * {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1}[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? this.about.duration : this.time + by;
      if (Number.isNaN(to)) return;
      event.preventDefault();
      this.span = null;
      this.seek(to);
    }
  }

  class Together {                                // the second player follows the first
    constructor([first, second]) {
      Object.assign(this, {first, second, pin: [0, 0], mode: find("[data-do=sync]").value});
      Object.assign(this, {alone: false, ours: 0, asked: 0, jump: 0.05});
      this.alignment = data.alignment && this.whole(data.alignment);
      find("[data-do=sync]").addEventListener("change", event => { this.mode = event.target.value; this.place(); });
      find("[data-do=pin]").addEventListener("click", () => this.pinHere());
      first.moved = () => this.place();
      second.moved = () => this.lead();
      if (first.video && second.video) this.join();
    }
    join() {                                      // what starts or stops one film starts or stops both
      const {first, second} = this, own = {play: second.play, toggle: second.toggle, step: second.step};
      second.video.muted = true;                  // one sound is enough; and no browser refuses to start it then
      second.play = span => {                     // a moment of the second plays both, where the first has it
        const here = span && this.mode !== "none" && this.inFirst(span);
        if (here) return first.play(here);
        this.alone = this.mode !== "none";
        if (this.alone) first.video.pause();
        own.play.call(second, span, false);
      };
      second.toggle = () => {
        if (this.apart) own.toggle.call(second);
        else if (first.video.paused && !this.reaches(second.time)) second.play(null);
        else first.toggle();
      };
      second.step = by => {
        if (this.mode !== "none") first.video.pause();
        own.step.call(second, by);
      };
      first.video.addEventListener("play", () => this.run());
      first.video.addEventListener("timeupdate", () => this.run());
      first.video.addEventListener("pause", () => {
        if (this.apart) return;
        this.rest();
        if (this.reaches(second.time)) this.place(0.02);
      });
      second.video.addEventListener("play", () => {         // by the browser's own button, perhaps
        if (this.apart || !first.video.paused || second.video.paused) return;
        if (this.reaches(second.time)) first.play(); else this.alone = true;
      });
      second.video.addEventListener("pause", () => {
        if (this.ours) this.ours--;
        else if (this.alone) this.alone = !second.video.paused;
        else if (this.mode !== "none" && !second.video.ended) first.video.pause();
      });
      second.video.addEventListener("seeked", () => {       // a jump aims at where the first is when it is done
        if (this.asked) this.jump = Math.min((performance.now() - this.asked) / 1000, 2);
        this.asked = 0;
      });
      for (const [one, other] of [[first, second], [second, first]]) {
        for (const [name, what] of [["speed", "value"], ["repeat", "checked"]]) {
          const [changed, like] = [one, other].map(player => find(`[data-do=${name}]`, player.root));
          changed.addEventListener("change", () => {
            if (this.mode === "none") return;
            like[what] = changed[what];
            other.video.playbackRate = other.rate;
          });
        }
      }
    }
    get apart() { return this.mode === "none" || this.alone; }
    rest() {                                      // stops the second, which is no reason to stop the first
      if (!this.second.video || this.second.video.paused) return;
      this.ours++;
      this.second.video.pause();
    }
    whole({better, other}) {                      // from end to end of both where that is no leap; sorted, to go back
      const [a, b] = this.durations, most = 4;
      const starts = other[0] <= most * better[0], ends = b - other.at(-1) <= most * (a - better.at(-1));
      const [xs, ys] = [[better, 0, a], [other, 0, b]].map(([inner, start, end]) =>
        [...(starts ? [start] : []), ...inner, ...(ends ? [end] : [])]);
      let last = 0;
      return {better: xs, other: ys, sorted: ys.map(at => last = Math.max(last, at))};
    }
    get durations() { return [this.first, this.second].map(one => one.about.duration); }
    target(at) {                                  // seconds of the second video that belong to seconds of the first
      const [a, b] = this.durations;
      const found = this.mode === "alignment" ? between(this.alignment.better, this.alignment.other, at)
        : this.mode === "fraction" ? at / (a || 1) * b
        : this.mode === "pin" ? at - this.pin[0] + this.pin[1] : at;
      return clamp(found, 0, b);
    }
    inverse(at) {                                 // seconds of the first, the nearest it has
      const [a, b] = this.durations;
      const found = this.mode === "alignment" ? between(this.alignment.sorted, this.alignment.better, at)
        : this.mode === "fraction" ? at / (b || 1) * a
        : this.mode === "pin" ? at - this.pin[1] + this.pin[0] : at;
      return clamp(found, 0, a);
    }
    reaches(at) { return Math.abs(this.target(this.inverse(at)) - at) < 0.1; }
    inFirst(span) {                               // a span of the second; null where it has none or would rush through
      const [from, to] = span.map(at => this.inverse(at)), [a] = this.durations;
      if (!span.every(at => this.reaches(at)) || 4 * (to - from) < span[1] - span[0]) return null;
      const end = Math.min(Math.max(to, from + 0.5), a);
      return [clamp(end - 0.5, 0, from), end];
    }
    place(tolerance = 0) {
      if (this.mode === "none") return;
      this.alone = false;
      if (this.first.video?.paused) this.rest();
      const to = this.target(this.first.time);
      if (Math.abs(to - this.second.time) > tolerance) this.second.seek(to, false);
    }
    lead() {                                      // the first goes where the second was moved to, as far as it can
      const {first, second} = this;
      if (this.mode === "none") return;
      first.seek(this.inverse(second.time), false);
      if (!first.video || !second.video) return;
      if (first.video.paused && !(this.alone && !second.video.paused)) return;
      this.alone = !this.reaches(second.time);
      if (!this.alone) return first.play();
      first.video.pause();
      second.video.play().catch(() => {});
    }
    pinHere() {
      this.pin = [this.first.time, this.second.time];
      this.mode = "pin";
      find("[data-do=sync]").value = this.mode;
      find(".pinned").value = fill(data.texts.pinned, {first: clock(this.pin[0]), second: clock(this.pin[1])});
      this.place();
    }
    run() {                                       // its rate follows the slope; a jump where it is off by over .1 s
      if (this.mode === "none" || this.first.video.paused) return;
      this.alone = false;
      this.second.span = null;
      if (this.timer) return;
      this.timer = setInterval(() => {
        const {first, second} = this;
        if (first.video.paused || this.mode === "none") {
          clearInterval(this.timer);
          this.timer = null;
          second.video.playbackRate = second.rate;
          return;
        }
        if (second.video.seeking || first.video.seeking) return;
        const at = first.time, off = this.target(at) - second.time;
        if (second.video.ended && off > -0.1) return;       // played again, it would begin anew
        const slope = (this.target(at + 0.25) - this.target(at - 0.25)) / 0.5;
        if (Math.abs(off) > 0.1) {
          this.asked = performance.now();
          second.seek(this.target(at + this.jump * first.video.playbackRate), false);
        }
        const rate = slope * first.video.playbackRate + 2 * off;
        second.video.playbackRate = rate < 0.07 ? 0.07 : Math.min(rate, 8);
        if (rate < 0.07 && off < 0.03) this.rest();
        else if (second.video.paused) second.video.play().catch(() => {});
      }, 40);
    }
  }

  const players = all(".player").map((root, number) => new Player(root, data.players[number]));
  const together = find("[data-do=sync]") && players.length === 2 ? new Together(players) : null;

  for (const button of all(".moment[data-player]")) {
    button.addEventListener("click", () => {
      const player = players[+button.dataset.player];
      for (const other of all(".moment[aria-current]")) other.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      player.play([+button.dataset.from, +button.dataset.to]);
    });
  }
  const linked = Number(/^#t=([\d.]+)$/.exec(location.hash)?.[1]);         // NaN where it is no number of seconds
  if (linked >= 0) players[0]?.seek(linked);

  addEventListener("keydown", event => {
    const player = players[event.target.closest("[data-player]")?.dataset.player ?? 0];       // where the focus is
    if (!player?.video || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    const own = event.target.closest("input, button, a, summary, video");        // they have a use for the space bar
    if (event.key === "k" || event.key === " " && !own) {
      event.preventDefault();
      if (!event.repeat) player.toggle();
    }
    if (event.key === "s" && !event.repeat) for (const box of all("[data-do=skeleton]")) box.click();
    if (event.key === ",") player.step(-1);
    if (event.key === ".") player.step(1);
  });

  for (const button of all("th button[data-sort]")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), table = button.closest("table"), body = find("tbody", table);
      const up = head.getAttribute("aria-sort") !== "ascending", column = head.cellIndex;
      for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
        : (up ? 1 : -1) * (button.dataset.sort === "number" ? a - b : a.localeCompare(b));
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  }

  window.jaxskill = {players, together};
})();
