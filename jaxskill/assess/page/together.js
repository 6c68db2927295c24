// Two players in step, on pages of two videos.
const RUSH = 4;                                 // times as fast as the first: the second shows nothing any more then

class Together {                                // the second player follows the first
  constructor([first, second]) {
    Object.assign(this, {first, second, pin: [0, 0], mode: find("[data-do=sync]").value});
    Object.assign(this, {alone: false, ours: {play: 0, pause: 0}, asked: 0, jump: 0.05});
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
      if (this.ours.play) return this.ours.play--;
      if (this.apart || !first.video.paused || second.video.paused) return;
      if (this.reaches(second.time)) first.play(); else this.alone = true;
    });
    second.video.addEventListener("pause", () => {
      if (this.ours.pause) this.ours.pause--;
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
    this.ours.pause++;
    this.second.video.pause();
  }
  start() {                                     // goes on with the second, which is no wish to see it alone
    const {video} = this.second;
    if (!video.paused) return;
    video.play().catch(() => {});
    if (!video.paused) this.ours.play++;        // refused, it stays paused, and no event comes
  }
  whole({better, other}) {                      // from end to end of both where that is no leap, and never backwards
    const [a, b] = this.durations;
    const starts = other[0] <= RUSH * better[0], ends = b - other.at(-1) <= RUSH * (a - better.at(-1));
    const [xs, ys] = [[better, 0, a], [other, 0, b]].map(([inner, start, end]) =>
      [...(starts ? [start] : []), ...inner, ...(ends ? [end] : [])]);
    let last = 0;
    return {better: xs, other: ys.map(at => last = Math.max(last, at))};
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
    const found = this.mode === "alignment" ? between(this.alignment.other, this.alignment.better, at)
      : this.mode === "fraction" ? at / (b || 1) * a
      : this.mode === "pin" ? at - this.pin[1] + this.pin[0] : at;
    return clamp(found, 0, a);
  }
  reaches(at) { return Math.abs(this.target(this.inverse(at)) - at) < 0.1; }
  inFirst(span) {                               // a span of the second; null where it has none or would rush through
    const [from, to] = span.map(at => this.inverse(at)), [a] = this.durations;
    if (!span.every(at => this.reaches(at)) || RUSH * (to - from) < span[1] - span[0]) return null;
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
    this.start();
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
      else this.start();
    }, 40);
  }
}
