"use strict";
// Where things stand in a JSON text. Rule 1: what is no JSON, and a key that stands twice, is found here, with its place,
// so what the service is sent means to it what it means to whoever reads it. Rule 2: a place is called as the service
// calls it: steps[2].depends_on[0].
const places = (() => {
  class Fault extends Error {
    constructor(at, message) {
      super(message);
      this.at = at;
    }
  }

  // Where each value begins and ends, by its place; the whole is at "".
  function scan(text) {
    const found = new Map();
    let at = 0;
    const token = /[ \t\n\r]*(?:([{}[\]:,])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-]))/y;
    function next() {
      token.lastIndex = at;
      const match = token.exec(text);
      if (!match) {
        while (/[ \t\n\r]/.test(text.charAt(at))) at += 1;
        throw new Fault(at, at >= text.length ? "the text ends too early" : "no JSON from here on");
      }
      at = token.lastIndex;
      const [, mark, string, other] = match;
      return { mark, string, value: string ?? other, from: at - (mark ?? string ?? other).length };
    }
    function value(place, first, depth) {
      if (depth > 200) throw new Fault(first.from, "nested too deeply");
      if (first.mark === "{") members(place, depth);
      else if (first.mark === "[") items(place, depth);
      else if (first.value === undefined) throw new Fault(first.from, "a value must stand here");
      found.set(place, [first.from, at]);
    }
    function separated(end, one) {
      let first = next();
      if (first.mark === end) return;
      for (;;) {
        one(first);
        const after = next();
        if (after.mark === end) return;
        if (after.mark !== ",") throw new Fault(after.from, `a comma or ${end} must stand here`);
        first = next();
      }
    }
    function members(place, depth) {
      const keys = new Set();
      separated("}", (first) => {
        if (first.string === undefined) throw new Fault(first.from, "a key in quotes must stand here");
        const key = JSON.parse(first.string);
        if (keys.has(key)) throw new Fault(first.from, "this key stands twice in one object");
        keys.add(key);
        const colon = next();
        if (colon.mark !== ":") throw new Fault(colon.from, "a colon must stand here");
        value(place ? `${place}.${key}` : key, next(), depth + 1);
      });
    }
    function items(place, depth) {
      let index = 0;
      separated("]", (first) => value(`${place}[${index++}]`, first, depth + 1));
    }
    value("", next(), 0);
    while (/[ \t\n\r]/.test(text.charAt(at))) at += 1;
    if (at < text.length) throw new Fault(at, "nothing may stand after the value");
    return found;
  }

  const lineOf = (text, at) => text.slice(0, at).split("\n").length;

  // Where a place is, or what it would be in: something that is missing has no place of its own.
  function range(found, place) {
    for (let name = place; ; name = name.slice(0, Math.max(name.lastIndexOf("."), name.lastIndexOf("["), 0))) {
      if (found.has(name)) return found.get(name);
      if (!name) return [0, 0];
    }
  }

  return { Fault, scan, lineOf, range };
})();
