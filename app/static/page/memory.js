// What the browser keeps: beds of flowers (one for each job), newest first, and how pictures are shown.

const BEDS = "bouquet.beds";
const CRISP = "bouquet.crisp";
const MOST_BEDS = 60;

function read(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? fallback;
  } catch {
    return fallback;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Private windows and full disks: the page works, it only forgets.
  }
}

export const beds = () => {
  const kept = read(BEDS, []);
  return Array.isArray(kept) ? kept.filter((bed) => typeof bed?.id === "string" && Array.isArray(bed.images)) : [];
};

// A bed is { id, request, images: [{ seed, url, kind }] }; without images it is still growing.
export function keep(bed) {
  write(BEDS, [bed, ...beds().filter((other) => other.id !== bed.id)].slice(0, MOST_BEDS));
}

export function update(bed) {
  write(BEDS, beds().map((other) => (other.id === bed.id ? bed : other)));
}

export function forget(id) {
  write(BEDS, beds().filter((bed) => bed.id !== id));
}

export const forgetAll = () => write(BEDS, []);

export const isCrisp = () => read(CRISP, false) === true;
export const setCrisp = (crisp) => write(CRISP, crisp);
