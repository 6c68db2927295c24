// Players, time axes, heat maps, sortable tables.
(() => {
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
