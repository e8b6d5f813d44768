// The shop's one script. Every page works without it; with it, the event page draws a live seat map,
// the hold page counts down, and a booking that waits for its payment looks again by itself.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const page = byId("map-card");
  if (page) seatMap(page).catch(() => { page.hidden = true; });
  if (byId("clock")) clock(byId("clock"));
  if (byId("pending")) lookAgain(byId("pending"));

  // The hold's clock runs on the device's steady time from the seconds the server said were left.
  function clock(shown) {
    const ends = performance.now() + Number(shown.dataset.leftS) * 1000;
    const said = byId("clock-said");
    let last = Infinity;
    const tick = () => {
      const left = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
      shown.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
      shown.classList.toggle("low", left <= 60);
      for (const [mark, words] of [[120, "Two minutes left."], [30, "30 seconds left."], [0, "The time is over."]]) {
        if (left <= mark && last > mark && last !== Infinity) said.textContent = words;
      }
      last = left;
      if (left === 0) { clearInterval(timer); location.reload(); }
    };
    const timer = setInterval(tick, 500);
    if (Number(shown.dataset.leftS) > 0) tick(); else clearInterval(timer);
  }

  function lookAgain(shown) {
    const tries = Number(sessionStorage.getItem("looked") || 0);
    if (tries >= 30) return;
    sessionStorage.setItem("looked", tries + 1);
    setTimeout(() => location.reload(), Number(shown.dataset.afterS) * 1000);
  }

  async function seatMap(card) {
    const event = "/v1/events/" + encodeURIComponent(card.dataset.event);
    const prices = JSON.parse(card.dataset.prices);
    const limit = Number(card.dataset.limit);
    const canvas = byId("map"), hint = byId("map-hint"), said = byId("map-said");
    const money = new Intl.NumberFormat(document.documentElement.lang, { style: "currency", currency: card.dataset.currency });
    const digits = money.resolvedOptions().maximumFractionDigits;
    const price = (seat) => (prices[seat.category] || { amount: 0 }).amount;
    const text = (amount) => money.format(amount / 10 ** digits);
    const chosen = new Map();
    const early = [];
    let states = null, version = -1, areas = [], loading = false, again = false;
    const pause = (ms) => new Promise((done) => setTimeout(done, ms * (1 + Math.random())));

    // From the version of the snapshot on; the browser goes on by itself when the stream breaks off.
    function follow() {
      const stream = new EventSource(event + "/seats/stream?since=" + version);
      stream.addEventListener("change", (message) => {
        const change = JSON.parse(message.data);
        if (loading) early.push(change); else apply(change);
      });
      stream.addEventListener("reset", () => { load(); });
      stream.addEventListener("error", () => {
        if (stream.readyState === EventSource.CLOSED) pause(3000).then(follow);
      });
    }

    // Loads the snapshot until it is there; what the stream says meanwhile is laid over it.
    async function load() {
      again = true;
      if (loading) return;
      loading = true;
      for (let wait = 500; again; ) {
        again = false;
        try {
          await snapshot();
        } catch {
          again = true;
          await pause(wait);
          wait = Math.min(wait * 2, 15000);
        }
      }
      loading = false;
      early.splice(0).forEach(apply);
    }

    const plan = await (await fetch(event + "/plan")).json();
    const { seats, drawings, size, colours } = flatten(plan);
    // What is seen: plan units to screen by x * scale + left.
    const view = { scale: 1, left: 0, top: 0, least: 1 };
    const ctx = canvas.getContext("2d");
    const name = (seat) => seat.section + ", row " + seat.row + ", seat " + seat.number;
    let due = false;

    async function snapshot() {
      const answer = await fetch(event + "/seats");
      if (!answer.ok) throw new Error("no seats");
      const body = await answer.json();
      const packed = Uint8Array.from(atob(body.seats), (c) => c.charCodeAt(0));
      states = Uint8Array.from(seats, (_, n) => (packed[n >> 2] >> ((n & 3) * 2)) & 3);
      version = body.version;
      areas = body.areas;
      refresh();
    }

    function apply(change) {
      if (change.version <= version) return;
      version = change.version;
      for (const [seat, state] of change.seats) states[seat] = state;
      if (change.prices_changed) renew();
      for (const area of change.areas || []) areas = areas.map((old) => (old.area === area.area ? { ...old, ...area } : old));
      refresh();
    }

    // The organiser changed prices: what is shown from now on is what is paid.
    async function renew() {
      const answer = await fetch(event);
      if (!answer.ok) return;
      for (const line of (await answer.json()).price_categories) prices[line.category] = line.price;
      refresh();
    }

    function refresh() {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        const lost = [...chosen.keys()].filter((seat) => states[seat] !== 0);
        lost.forEach((seat) => chosen.delete(seat));
        if (lost.length) {
          said.textContent = lost.map((seat) => name(seats[seat])).join("; ") + ": just taken by somebody else.";
          basket();
        }
        counts();
        draw();
      });
    }

    function counts() {
      const free = {};
      seats.forEach((seat, n) => { if (states[n] === 0) free[seat.category] = (free[seat.category] || 0) + 1; });
      document.querySelectorAll("[data-category]").forEach((cell) => { cell.textContent = (free[cell.dataset.category] || 0).toLocaleString(); });
      for (const area of areas) {
        const cell = document.querySelector('[data-area="' + CSS.escape(area.area) + '"]');
        if (cell) cell.textContent = Math.max(0, area.capacity - area.held - area.sold).toLocaleString();
      }
    }

    function basket() {
      const items = [...chosen.keys()].map((n) => {
        const item = document.createElement("li"), words = document.createElement("span");
        const away = document.createElement("button"), field = document.createElement("input");
        words.textContent = name(seats[n]) + " · " + seats[n].category + " · " + text(price(seats[n]));
        Object.assign(away, { type: "button", className: "plain", textContent: "Remove" });
        away.setAttribute("aria-label", "Remove " + name(seats[n]));
        away.onclick = () => toggle(n);
        Object.assign(field, { type: "hidden", name: "seat", value: seats[n].guid });
        item.append(words, away, field);
        return item;
      });
      byId("basket").replaceChildren(...items);
      const total = [...chosen.keys()].reduce((sum, n) => sum + price(seats[n]), 0);
      byId("map-hold").disabled = chosen.size === 0;
      byId("map-hold").textContent = chosen.size ? "Hold " + chosen.size + (chosen.size > 1 ? " seats · " : " seat · ") + text(total) : "Choose seats on the map";
    }

    function toggle(n) {
      if (chosen.delete(n)) said.textContent = name(seats[n]) + " removed.";
      else if (states[n] !== 0) { said.textContent = name(seats[n]) + " is taken."; return; }
      else if (chosen.size >= limit) { said.textContent = "At most " + limit + " seats for one buyer."; return; }
      else { chosen.set(n, true); said.textContent = name(seats[n]) + " chosen, " + text(price(seats[n])) + "."; }
      basket();
      draw();
    }

    function fit() {
      const { width, height } = canvas.getBoundingClientRect();
      view.least = Math.min(width / size.width, height / size.height) * 0.98;
      view.scale = view.least;
      view.left = (width - size.width * view.scale) / 2;
      view.top = (height - size.height * view.scale) / 2;
      canvas.classList.remove("deep");
    }

    function zoom(factor, x, y) {
      const scale = Math.min(Math.max(view.scale * factor, view.least), 4);
      const ratio = scale / view.scale;
      view.left = x - (x - view.left) * ratio;
      view.top = y - (y - view.top) * ratio;
      view.scale = scale;
      keepInside();
      canvas.classList.toggle("deep", scale > view.least * 1.05);
      draw();
    }

    function keepInside() {
      const { width, height } = canvas.getBoundingClientRect();
      const clamp = (offset, room, extent) => (extent <= room ? (room - extent) / 2 : Math.min(room * 0.3, Math.max(room * 0.7 - extent, offset)));
      view.left = clamp(view.left, width, size.width * view.scale);
      view.top = clamp(view.top, height, size.height * view.scale);
    }

    function draw() {
      const box = canvas.getBoundingClientRect(), dpr = window.devicePixelRatio || 1;
      if (canvas.width !== Math.round(box.width * dpr) || canvas.height !== Math.round(box.height * dpr)) {
        canvas.width = Math.round(box.width * dpr);
        canvas.height = Math.round(box.height * dpr);
      }
      const style = getComputedStyle(document.documentElement);
      const [ink, soft, accent, onAccent, ground] = ["--ink", "--soft", "--accent", "--accent-ink", "--page"].map((v) => style.getPropertyValue(v));
      const { scale, left, top } = view;
      ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
      ctx.clearRect(0, 0, box.width, box.height);
      ctx.save();
      ctx.translate(left, top);
      ctx.scale(scale, scale);
      for (const area of drawings) drawArea(area, ink, soft);
      ctx.restore();
      const groups = new Map();
      const put = (key, n) => { if (!groups.has(key)) groups.set(key, []); groups.get(key).push(n); };
      seats.forEach((seat, n) => {
        const x = seat.x * scale + left, y = seat.y * scale + top;
        if (x < -20 || y < -20 || x > box.width + 20 || y > box.height + 20) return;
        put(chosen.has(n) ? "chosen" : states[n] === 0 ? seat.category : "taken", n);
      });
      const shape = (seat, grow) => {
        const r = Math.max(seat.radius * scale * grow, 0.8), x = seat.x * scale + left, y = seat.y * scale + top;
        if (r < 3) ctx.rect(x - r, y - r, 2 * r, 2 * r);
        else { ctx.moveTo(x + r, y); ctx.arc(x, y, r, 0, 7); }
      };
      for (const [key, members] of groups) {
        ctx.beginPath();
        members.forEach((n) => shape(seats[n], key === "chosen" ? 1.15 : key === "taken" ? 0.7 : 1));
        if (key === "taken") { ctx.strokeStyle = soft; ctx.lineWidth = 1; ctx.globalAlpha = 0.6; ctx.stroke(); ctx.globalAlpha = 1; continue; }
        ctx.fillStyle = key === "chosen" ? accent : colours[key] || soft;
        ctx.fill();
        if (key === "chosen") { ctx.strokeStyle = ink; ctx.lineWidth = 2; ctx.stroke(); }
        if (scale * 10 < 8) continue;
        ctx.fillStyle = key === "chosen" ? onAccent : "#fff";
        ctx.font = "600 " + 9 * scale + "px system-ui, sans-serif";
        ctx.textAlign = "center";
        ctx.textBaseline = "middle";
        members.forEach((n) => ctx.fillText(seats[n].number, seats[n].x * scale + left, seats[n].y * scale + top));
      }
    }

    function drawArea(area, ink, soft) {
      ctx.save();
      ctx.translate(area.x, area.y);
      ctx.rotate(((area.rotation || 0) * Math.PI) / 180);
      const path = new Path2D();
      const { rectangle, polygon, circle, ellipse } = area;
      if (area.shape === "rectangle" && rectangle) path.rect(0, 0, rectangle.width, rectangle.height);
      if (area.shape === "circle" && circle) path.arc(0, 0, circle.radius, 0, 7);
      if (area.shape === "ellipse" && ellipse) path.ellipse(0, 0, ellipse.radius.x, ellipse.radius.y, 0, 0, 7);
      if (area.shape === "polygon" && polygon) { polygon.points.forEach((p) => path.lineTo(p.x, p.y)); path.closePath(); }
      ctx.lineWidth = 2;
      if (area.color) { ctx.fillStyle = area.color; ctx.fill(path); }
      ctx.strokeStyle = area.border_color || soft;
      if (area.shape !== "text") ctx.stroke(path);
      const words = area.text;
      if (words && words.text) {
        ctx.fillStyle = words.color || (area.color ? "#221e2c" : ink);
        ctx.font = "600 " + (words.size || 16) + "px system-ui, sans-serif";
        ctx.textAlign = "center";
        ctx.textBaseline = "middle";
        const at = words.position || { x: 0, y: 0 };
        ctx.fillText(words.text, at.x, at.y);
      }
      ctx.restore();
    }

    // The nearest seat within 12 px, or within the seat itself when it is drawn larger.
    function nearest(x, y) {
      let found = -1, least = Infinity;
      seats.forEach((seat, n) => {
        const distance = Math.hypot(seat.x * view.scale + view.left - x, seat.y * view.scale + view.top - y);
        if (distance < least && distance <= Math.max(12, seat.radius * view.scale)) { least = distance; found = n; }
      });
      return found;
    }

    const fingers = new Map();
    let moved = 0;
    const at = (e) => { const box = canvas.getBoundingClientRect(); return { x: e.clientX - box.left, y: e.clientY - box.top }; };
    canvas.addEventListener("pointerdown", (e) => {
      fingers.set(e.pointerId, at(e));
      if (fingers.size === 1) moved = 0;
    });
    canvas.addEventListener("pointermove", (e) => {
      const now = at(e), before = fingers.get(e.pointerId);
      if (!before) {
        if (e.pointerType !== "mouse") return;
        const n = nearest(now.x, now.y);
        hint.textContent = n < 0 ? hint.dataset.idle : name(seats[n]) + " · " + seats[n].category + " · " + (states[n] === 0 ? text(price(seats[n])) : "taken");
        return;
      }
      moved += Math.hypot(now.x - before.x, now.y - before.y);
      if (moved > 6 && e.pointerType === "mouse") canvas.setPointerCapture(e.pointerId);
      const others = [...fingers.entries()].filter(([id]) => id !== e.pointerId);
      fingers.set(e.pointerId, now);
      if (others.length) {
        const other = others[0][1], spread = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
        zoom(spread(now) / spread(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      } else if (moved > 6) {
        view.left += now.x - before.x;
        view.top += now.y - before.y;
        keepInside();
        draw();
      }
    });
    const lift = (e) => {
      const known = fingers.delete(e.pointerId);
      if (e.type !== "pointerup" || !known || fingers.size || moved > 6) return;
      const { x, y } = at(e);
      if (view.scale * 10 < 3) { zoom(Math.max(3, 5 / (view.scale * 10)), x, y); return; }
      const n = nearest(x, y);
      if (n >= 0) toggle(n);
    };
    for (const type of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(type, lift);
    canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !canvas.classList.contains("deep")) return;
      e.preventDefault();
      const { x, y } = at(e);
      zoom(Math.exp(-e.deltaY / 300), x, y);
    }, { passive: false });
    const middle = (factor) => { const box = canvas.getBoundingClientRect(); zoom(factor, box.width / 2, box.height / 2); };
    byId("zoom-in").onclick = () => middle(1.6);
    byId("zoom-out").onclick = () => middle(1 / 1.6);
    byId("zoom-all").onclick = () => { fit(); draw(); };
    await load();
    follow();
    card.hidden = false;
    const list = byId("list");
    if (list && !list.dataset.section) list.open = false;
    basket();
    new ResizeObserver(() => { fit(); draw(); }).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  // The plan's nested positions, added up; seats in document order.
  function flatten(plan) {
    const seats = [], drawings = [], colours = {};
    for (const { name, color } of plan.categories) colours[name] = color;
    for (const zone of plan.zones) {
      const section = zone.name || zone.zone_id || "";
      for (const area of zone.areas || []) drawings.push({ ...area, x: zone.position.x + area.position.x, y: zone.position.y + area.position.y });
      for (const row of zone.rows) {
        const from = row.position || { x: 0, y: 0 };
        for (const seat of row.seats) {
          seats.push({
            guid: seat.seat_guid, section, row: row.row_number, number: seat.seat_number, category: seat.category,
            x: zone.position.x + from.x + seat.position.x, y: zone.position.y + from.y + seat.position.y, radius: seat.radius || 10,
          });
        }
      }
    }
    return { seats, drawings, colours, size: plan.size };
  }
})();
