// Draws openapi.json: routes by tag, then the shapes, then the codes of errors.

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};

// Text in which `code` is marked by backticks.
const prose = (text = "") =>
  text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));

const nameOf = (reference) => reference.split("/").pop();

function typeOf(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return make("a", { href: `#shape-${nameOf(schema.$ref)}` }, nameOf(schema.$ref));
  const options = schema.anyOf ?? schema.oneOf;
  if (options) {
    return make("span", {}, ...options.flatMap((option, index) => [index ? " or " : "", typeOf(option)]));
  }
  if (schema.type === "array") return make("span", {}, "list of ", typeOf(schema.items));
  const bounds = schema.minimum !== undefined || schema.maximum !== undefined
    ? ` ${schema.minimum ?? ""} … ${schema.maximum ?? ""}` : "";
  if (schema.enum) return schema.enum.join(" | ");
  return `${schema.format === "binary" ? "PNG" : schema.type ?? "anything"}${bounds}`;
}

function table(head, rows) {
  return make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows));
}

const row = (...cells) =>
  make("tr", {}, ...cells.map((cell) => make("td", {}, ...(Array.isArray(cell) ? cell : [cell]))));

function shape(name, schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([field, property]) => {
    const fallback = property.default === undefined ? "" : ` Default: ${JSON.stringify(property.default)}.`;
    return row(make("code", {}, field), typeOf(property), [...prose(property.description), fallback]);
  });
  const values = schema.enum ? make("p", {}, schema.enum.join(" | ")) : null;
  const examples = (schema.examples ?? []).map((example) => make("pre", {}, JSON.stringify(example)));
  return make("details", { id: `shape-${name}` },
    make("summary", {}, make("code", {}, name), make("span", { class: "what" }, ...prose(schema.description?.split("\n")[0]))),
    make("div", { class: "inside" }, values, rows.length ? table(["field", "is", ""], rows) : null, ...examples));
}

const KINDS = { "image/png": "PNG", "image/webp": "WebP", "text/event-stream": "server-sent events" };

function route(path, verb, operation) {
  const parameters = (operation.parameters ?? []).map((parameter) =>
    row(make("code", {}, parameter.name), parameter.in, typeOf(parameter.schema), prose(parameter.description ?? "")));
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const answers = Object.entries(operation.responses).map(([status, answer]) => {
    const kinds = Object.entries(answer.content ?? {}).filter(([, content]) => content.schema);
    const shown = kinds.flatMap(([kind, content], index) =>
      [index ? ", " : "", KINDS[kind] ?? typeOf(content.schema)]);
    return row(make("code", {}, status), prose(answer.description), shown);
  });
  return make("details", { id: operation.operationId },
    make("summary", {},
      make("span", { class: "verb" }, verb.toUpperCase()), make("code", {}, path),
      make("span", { class: "what" }, operation.summary ?? "")),
    make("div", { class: "inside" },
      ...(operation.description ?? "").split("\n\n").map((text) => make("p", {}, ...prose(text))),
      parameters.length ? make("h3", {}, "Parameters") : null,
      parameters.length ? table(["name", "in", "is", ""], parameters) : null,
      body ? make("h3", {}, "Body") : null,
      body ? make("p", {}, "JSON: ", typeOf(body)) : null,
      make("h3", {}, "Answers"), table(["status", "", ""], answers)));
}

function draw(document_) {
  const tags = new Map();
  for (const [path, operations] of Object.entries(document_.paths)) {
    for (const [verb, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? "more";
      tags.set(tag, [...(tags.get(tag) ?? []), route(path, verb, operation)]);
    }
  }
  const schemas = document_.components.schemas;
  const codes = Object.entries(schemas.Problem.properties.code["x-codes"]).map(([code, { status, title }]) => {
    const line = row(make("code", {}, code), String(status), title);
    line.id = code;
    return line;
  });
  return [
    ...document_.info.description.trim().split("\n\n").map((text) => make("p", {}, ...prose(text))),
    ...[...tags].flatMap(([tag, routes]) => [make("h2", {}, tag[0].toUpperCase() + tag.slice(1)), ...routes]),
    make("h2", {}, "Shapes"), ...Object.entries(schemas).map(([name, schema]) => shape(name, schema)),
    make("h2", {}, "Errors"),
    make("p", {}, "Every error is a Problem (RFC 9457). Its ", make("code", {}, "code"), " is one of these and never changes."),
    table(["code", "status", "says"], codes),
  ];
}

function openTarget() {
  const target = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (target?.tagName === "DETAILS") target.open = true;
  target?.scrollIntoView();
}

const main = document.getElementById("reference");
try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  main.replaceChildren(...draw(await response.json()));
  addEventListener("hashchange", openTarget);
  openTarget();
} catch (error) {
  main.replaceChildren(make("p", { role: "alert" }, `openapi.json could not be read: ${error.message}`));
}
