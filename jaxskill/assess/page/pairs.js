// Pairs to label: two films at a time, answered by 1, 2 and =. Which pair is next follows from the models and the answers.
(() => {
  const logistic = x => 1 / (1 + Math.exp(-x));
  const WINS = {"1": 1, "2": 0, "=": 0.5};        // of the left one

  class Beliefs {                                 // how good each video is: normal, at first by the models alone
    constructor(videos) {
      this.means = videos.map(one => one.mean);
      this.covariances = videos.map((one, row) => videos.map((_, column) => row === column ? one.spread ** 2 : 0));
      this.behind = videos.map(() => new Set());  // those that answers, or chains of them, put behind each
      this.asked = videos.map(() => new Set());
    }
    gap(a, b) {
      const {means, covariances} = this;
      return {mean: means[a] - means[b], variance: covariances[a][a] + covariances[b][b] - 2 * covariances[a][b]};
    }
    learn(a, b, wins) {                           // one Newton step of logistic regression (Bradley and Terry)
      const {mean, variance} = this.gap(a, b), chance = logistic(mean), weight = chance * (1 - chance);
      const along = this.covariances.map(row => row[a] - row[b]), scale = 1 / (1 + weight * variance);
      this.means = this.means.map((value, i) => value + scale * along[i] * (wins - chance));
      this.covariances = this.covariances.map((row, i) =>
        row.map((value, j) => value - scale * weight * along[i] * along[j]));
      this.asked[a].add(b);
      this.asked[b].add(a);
      if (wins === 1) this.order(a, b);
      if (wins === 0) this.order(b, a);
    }
    order(better, worse) {
      const below = [worse, ...this.behind[worse]];
      this.behind.forEach((set, i) => {
        if (i === better || set.has(better)) below.forEach(one => set.add(one));
      });
    }
    worth(a, b) {                                 // how open it is who is better, times how little is known of it
      const {mean, variance} = this.gap(a, b), chance = logistic(mean / Math.sqrt(1 + Math.PI * variance / 8));
      return chance * (1 - chance) * variance;
    }
    next() {                                      // the pair that is worth most, null where none is left
      let best = null, most = -1;
      for (let a = 0; a < this.means.length; a++) {
        for (let b = a + 1; b < this.means.length; b++) {
          if (this.asked[a].has(b) || this.behind[a].has(b) || this.behind[b].has(a)) continue;
          const worth = this.worth(a, b);
          if (worth > most) [best, most] = [[a, b], worth];
        }
      }
      return best && ((best[0] + best[1]) % 2 ? best : best.reverse());     // their order was drawn: no side is the better
    }
  }

  class Labels {
    constructor(root) {
      Object.assign(this, {root, videos: all("video", root), names: all(".name", root)});
      this.numbers = new Map(data.videos.map((one, number) => [one.name, number]));
      this.answers = this.load();                 // of [left, right, key], by name
      this.replay();
      for (const button of all("[data-answer]", root)) {
        button.addEventListener("click", () => this.answer(button.dataset.answer));
      }
      find("[data-do=undo]", root).addEventListener("click", () => this.undo());
      find("[data-do=save]", root).addEventListener("click", () => this.save());
      find("[data-do=anew]", root).addEventListener("click", () => this.anew());
      addEventListener("keydown", event => {
        if (event.repeat && event.target.closest?.("button")) event.preventDefault();       // Enter held down is one answer
        if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
        if (Object.hasOwn(WINS, event.key)) this.answer(event.key);
        if (event.key === "Backspace") this.undo();
      });
      addEventListener("storage", event => {      // answered in another window: the last one would forget the other's
        if (event.key !== data.key || this.unsaved) return;
        this.answers = this.load();
        this.replay();
        this.show();
      });
      addEventListener("beforeunload", event => {
        if (!this.unsaved) return;
        event.preventDefault();
        event.returnValue = "";                   // as older browsers want it
      });
      this.show();
    }
    load() {                                      // what was answered before the page was closed
      let kept = [];
      try { kept = JSON.parse(localStorage.getItem(data.key)); } catch { return []; }
      return Array.isArray(kept) ? kept.filter(one => Array.isArray(one) && Object.hasOwn(WINS, one[2])) : [];
    }
    keep() {
      try {
        localStorage.setItem(data.key, JSON.stringify(this.answers));
        this.unsaved = false;
      } catch { this.unsaved = this.answers.length > 0; }     // a browser may refuse: then closing asks first
    }
    replay() {
      this.beliefs = new Beliefs(data.videos);
      for (const answer of this.answers) this.learn(answer);
    }
    learn([left, right, key]) {                   // of another page of this run, some may not be here
      const [a, b] = [left, right].map(name => this.numbers.get(name));
      if (a !== undefined && b !== undefined) this.beliefs.learn(a, b, WINS[key]);
    }
    show() {
      const {answers, beliefs} = this;
      this.pair = answers.length < data.count ? beliefs.next() : null;
      find(".progress", this.root).value = fill(data.texts.progress, {
        number: answers.length + (this.pair ? 1 : 0), count: data.count, answered: answers.length,
        equal: answers.filter(([, , key]) => key === "=").length});
      find(".done", this.root).hidden = Boolean(this.pair);
      find(".pair", this.root).hidden = !this.pair;
      this.videos.forEach((shown, side) => {
        if (!this.pair) return shown.pause();
        const {name, file} = data.videos[this.pair[side]];
        this.names[side].textContent = name;
        shown.src = file;
        shown.play().catch(() => {});             // a file that does not play is shown as such by the browser
      });
    }
    answer(key) {
      if (!this.pair) return;
      const answer = [...this.pair.map(video => data.videos[video].name), key];
      this.answers.push(answer);
      this.learn(answer);
      this.keep();
      this.show();
    }
    undo() {
      if (!this.answers.pop()) return;
      this.replay();
      this.keep();
      this.show();
    }
    anew() {
      const sure = fill(data.texts.forget, {answered: this.answers.length});
      if (!this.answers.length || !confirm(sure)) return;
      this.answers = [];
      this.replay();
      this.keep();
      this.show();
    }
    table() {
      const cell = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
      const rows = this.answers.map(([left, right, key]) =>
        [...(key === "2" ? [right, left] : [left, right]).map(cell), key === "=" ? "yes" : "no"].join(","));
      return ["better,worse,similar", ...rows, ""].join("\n");
    }
    save() {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([this.table()], {type: "text/csv"}));
      link.download = "pairs.csv";
      link.click();
      this.unsaved = false;
    }
  }

  window.jaxskill = {labels: new Labels(find(".labels"))};
})();
