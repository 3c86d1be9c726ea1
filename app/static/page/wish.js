// The form: reads a wish, says what is wrong with one, and keeps sliders and numbers together.

const FIELDS = {
  seed: { lowest: 0n, highest: 2n ** 53n - 1n, optional: true },
  steps: { lowest: 1n, highest: 1000n },
  count: { lowest: 1n, highest: 64n },
};

// Of each sampler: so many that twice as many make no better flower.
const ENOUGH_STEPS = new Map([["multistep", 8], ["ddim", 20]]);

const field = (name) => document.getElementById(name);
const helps = Object.fromEntries(
  [...Object.keys(FIELDS), "sampler", "kind"].map((name) => [name, field(`${name}-help`).textContent]),
);

let knownKinds = [];

export class WishError extends Error {}

// Returns { seed, steps, count, sampler, kind }, kind null where each seed decides, or marks what is wrong, moves there and throws a WishError.
export function readWish() {
  clearMarks();
  const wish = {};
  const wrong = [];
  for (const [name, { lowest, highest, optional }] of Object.entries(FIELDS)) {
    const text = field(name).value.trim().replaceAll(/[\s_']/g, "");
    if (text === "" && optional) {
      wish[name] = null;
    } else if (/^\d{1,16}$/.test(text) && BigInt(text) >= lowest && BigInt(text) <= highest) {
      wish[name] = Number(text);
    } else {
      wrong.push([name, `Must be a whole number from ${lowest} to ${highest}.`]);
    }
  }
  if (!wrong.length && wish.seed !== null && wish.seed > Number.MAX_SAFE_INTEGER - (wish.count - 1)) {
    wrong.push(["seed", "With so many flowers the last seed would be too large."]);
  }
  if (wrong.length) {
    for (const [name, words] of wrong) mark(name, words);
    field(wrong[0][0]).focus();
    throw new WishError(wrong[0][1]);
  }
  return { ...wish, sampler: field("sampler").value, kind: field("kind").value || null };
}

export function mark(name, words) {
  if (!helps[name]) return;
  field(name).setAttribute("aria-invalid", "true");
  field(name).closest(".field").classList.add("wrong");
  field(`${name}-help`).textContent = words;
}

function clearMarks() {
  for (const name of Object.keys(helps)) {
    field(name).removeAttribute("aria-invalid");
    field(name).closest(".field").classList.remove("wrong");
    field(`${name}-help`).textContent = helps[name];
  }
}

// Lets one of the model's kinds be chosen; without any there is nothing to choose.
export function offerKinds(kinds) {
  knownKinds = kinds;
  drawKinds(field("kind").value);
}

// One that is wished for is among them, known or not: what is wrong with it the server says.
function drawKinds(chosen) {
  const words = new Intl.Collator("en");
  const kinds = [...new Set([...knownKinds, chosen])].filter(Boolean).toSorted(words.compare);
  field("kind").replaceChildren(new Option("Any", ""), ...kinds.map((kind) => new Option(kind, kind)));
  field("kind-field").hidden = kinds.length === 0;
  field("kind").value = chosen;
}

// One that there is none of is put among them: what is wrong with it the server says.
function chooseSampler(sampler) {
  const samplers = field("sampler");
  if (![...samplers.options].some(({ value }) => value === sampler)) samplers.add(new Option(sampler));
  samplers.value = sampler;
}

export function writeWish({ seed, steps, count, sampler, kind }) {
  if (sampler) {
    chooseSampler(sampler);
    steps ??= ENOUGH_STEPS.get(sampler);
  }
  if (kind !== undefined) drawKinds(kind ?? "");
  if (seed !== undefined) field("seed").value = seed ?? "";
  for (const [name, value] of Object.entries({ steps, count })) {
    if (value === undefined) continue;
    field(name).value = value;
    field(`${name}-slider`).value = value;
  }
}

for (const name of ["steps", "count"]) {
  const slider = field(`${name}-slider`);
  slider.addEventListener("input", () => { field(name).value = slider.value; });
  field(name).addEventListener("input", () => { slider.value = field(name).value; });
}

// Another sampler needs another number of steps, unless one was chosen.
field("sampler").addEventListener("change", () => {
  const { value: sampler } = field("sampler");
  if ([...ENOUGH_STEPS.values()].includes(Number(field("steps").value))) writeWish({ sampler });
});

export function drawSeed() {
  field("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
}
