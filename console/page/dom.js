// Elements are made here and nowhere else. Whatever is put into one is text: nothing is ever read as HTML.

// el makes an element. Of its attributes, null and false ones are left out; "on" holds listeners; children are elements or text.
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(key, "");
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value);
    }
  }
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

// fill replaces what is in an element.
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

// renew is fill for what changes by itself all the time: it keeps every element that can stay, and with them focus, selection and
// scrolling. Listeners of new elements are lost, so only links may be in there.
export function renew(element, ...children) {
  become(element, el(element.localName, null, children));
}

function become(old, fresh) {
  const there = [...old.childNodes], wanted = [...fresh.childNodes];
  wanted.forEach((node, i) => {
    const was = there[i];
    if (!was) old.append(node);
    else if (was.nodeName !== node.nodeName) was.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) was.data = node.data;
    else {
      for (const { name } of [...was.attributes]) if (!node.hasAttribute(name)) was.removeAttribute(name);
      for (const { name, value } of node.attributes) if (was.getAttribute(name) !== value) was.setAttribute(name, value);
      become(was, node);
    }
  });
  for (const gone of there.slice(wanted.length)) gone.remove();
}

// notify says what came of something, to eyes and to screen readers. It is there until the next page.
export function notify(text, kind = "good") {
  const notice = document.getElementById("notice");
  notice.className = text ? kind : "";
  notice.textContent = text;
}

// problem is an error in place of what it kept from being shown.
export function problem(error) {
  return el("p", { class: "problem", role: "alert" }, error.message);
}

let fields = 0;

// field is a control with its label, and a hint that screen readers tell with it.
export function field(label, control, hint) {
  control.id ||= `field-${++fields}`;
  const parts = [el("label", { for: control.id }, label), control];
  if (hint) {
    control.setAttribute("aria-describedby", `${control.id}-hint`);
    parts.push(el("small", { id: `${control.id}-hint` }, hint));
  }
  return el("div", { class: "field" }, parts);
}

// check is a box to tick.
export function check(label, attributes) {
  return el("label", { class: "check" }, el("input", { type: "checkbox", ...attributes }), el("span", null, label));
}

// table is a table with a caption that only screen readers tell. It may be wider than its place, and is scrolled by keyboard, too.
export function table(caption, columns, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", null,
      el("caption", { class: "unseen" }, caption),
      el("thead", null, el("tr", null, columns.map(({ title, kind }) => el("th", { scope: "col", class: kind }, title)))),
      el("tbody", null, rows.map((cells) => el("tr", null,
        cells.map((cell, i) => el(i === 0 ? "th" : "td", { class: columns[i].kind, scope: i === 0 ? "row" : null }, cell)))))));
}
