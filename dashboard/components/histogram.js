// The histogram of all values of a map view, with a line that hides what is below it. `view` keeps the threshold.

class Histogram {
  constructor(view) {
    this.view = view;
    this.bins = element("canvas");
    this.handle = element("div", { className: "handle", tabIndex: 0, role: "slider" });
    this.handle.setAttribute("aria-label", "Threshold: values below it are hidden. Arrow keys move it, Delete removes it.");
    this.plot = element("div", { className: "plot" }, this.bins, this.handle);
    this.reading = element("span");
    this.clear = element("button", { type: "button" }, "clear");
    this.range = element("div", { className: "ticks" });
    const line = element("div", { className: "reading" }, this.reading, this.clear);
    this.nodes = [element("div", { className: "label" }, "Histogram and threshold"), line, this.plot, this.range];
    this.clear.onclick = () => view.release(null);
    this.plot.onpointerdown = (event) => {
      this.plot.setPointerCapture(event.pointerId);
      view.drag(this.valueAt(event));
    };
    this.plot.onpointermove = (event) => view.dragged !== null && view.drag(this.valueAt(event));
    this.plot.onpointerup = () => view.dragged !== null && view.release(view.dragged);
    this.handle.onkeydown = (event) => this.key(event);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const moved = (this.view.threshold ?? this.low) + (step * (this.high - this.low)) / 100;
      this.view.release(Math.min(this.high, Math.max(this.low, moved)));
    } else if (event.key === "Delete" || event.key === "Backspace") this.view.release(null);
    else return;
    event.preventDefault();
  }

  valueAt(event) {
    const box = this.plot.getBoundingClientRect();
    return this.low + clamp((event.clientX - box.left) / box.width, 1) * (this.high - this.low);
  }

  paint() {
    const { cells, data, threshold } = this.view;
    const counted = cells.filter((cell) => cell.spec().counted);
    const all = counted.flatMap((cell) => [...cell.values]);
    this.low = Math.min(0, ...counted.map((cell) => +cell.frame.dataset.min));
    this.high = Math.max(0, ...counted.map((cell) => +cell.frame.dataset.max));
    const span = this.high - this.low || 1;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight].map((side) => Math.round(side * ratio));
    Object.assign(this.bins, { width, height });
    const context = this.bins.getContext("2d");
    const count = Math.max(24, Math.min(90, Math.round(this.plot.clientWidth / 6)));
    const bins = new Array(count).fill(0);
    for (const value of all) bins[clamp(Math.floor(((value - this.low) / span) * count), count - 1)] += 1;
    const tallest = Math.max(...bins, 1);
    const step = width / count;
    bins.forEach((n, i) => {
      const centre = this.low + ((i + 0.5) / count) * span;
      const hidden = threshold !== null && centre < threshold;
      context.fillStyle = `rgba(${centre < 0 ? data.colours.negative : data.colours.positive},${hidden ? 0.25 : 0.9})`;
      const tall = (n / tallest) * (height - 4 * ratio);
      context.fillRect(i * step, height - tall, Math.max(1, step - ratio), tall);
    });
    this.paintThreshold(all, span);
  }

  paintThreshold(all, span) {
    const { threshold } = this.view;
    const at = threshold ?? this.low;
    this.handle.style.left = `${(100 * (at - this.low)) / span}%`;
    const kept = all.filter((value) => value >= threshold).length / (all.length || 1);
    const above = `Above ${number(at)}: ${Math.round(100 * kept)} % of all values`;
    this.reading.textContent = threshold === null ? "All values; drag the line to hide what is below it" : above;
    this.clear.style.visibility = threshold === null ? "hidden" : "visible";
    const limits = { valuemin: this.low, valuemax: this.high, valuenow: at };
    Object.entries(limits).forEach(([key, value]) => this.handle.setAttribute(`aria-${key}`, value));
    this.range.replaceChildren(...[0, 0.5, 1].map((t) => element("span", {}, number(this.low + t * span))));
  }
}
