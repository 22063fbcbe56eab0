// Why a field is not taken, in the console's language: left to itself, a browser says it in its own.
import { i18n } from "./i18n";

type Field = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

const FORMS: Record<string, string> = { "[0-9]{20}": "digits20", "[0-9]{6}": "digits6", "[0-9a-f]{32}": "hex32" };

function isField(target: unknown): target is Field {
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;
}

/** What is wrong with the field by its own attributes, or by what its view says of it (`data-fault`). */
function sentence(field: Field): string {
  const { t } = i18n.global;
  const { validity } = field;
  if (validity.valueMissing) return t(field instanceof HTMLSelectElement || isChoice(field) ? "field.choose" : "field.missing");
  if (validity.tooShort) return t("field.tooShort", { count: (field as HTMLInputElement).minLength });
  if (validity.patternMismatch) {
    const form = FORMS[(field as HTMLInputElement).pattern];
    return t(form ? `field.patternOf.${form}` : "field.pattern");
  }
  if (validity.badInput) return t("field.number");
  if (validity.rangeUnderflow) return t("field.least", { least: (field as HTMLInputElement).min });
  if (validity.rangeOverflow) return t("field.most", { most: (field as HTMLInputElement).max });
  return field.dataset.fault ?? "";
}

function isChoice(field: Field): boolean {
  return field.type === "radio" || field.type === "checkbox" || field.type === "file";
}

function look(field: Field): void {
  field.setCustomValidity(field.dataset.fault ?? "");
}

/** For a button that submits nothing: whether all fields of the form hold what they may; says where they do not. */
export function isFilled(form: HTMLFormElement): boolean {
  for (const field of form.elements) if (isField(field)) look(field);
  return form.reportValidity();
}

export function speakOfFields(): void {
  // Before the browser judges: what was said at the last try may hold no more.
  addEventListener(
    "click",
    ({ target }) => {
      const button = target instanceof Element && target.closest<HTMLButtonElement>("button[type=submit]");
      if (button && button.form) for (const field of button.form.elements) if (isField(field)) look(field);
    },
    true,
  );
  addEventListener("input", ({ target }) => isField(target) && target.setCustomValidity(""), true);
  addEventListener(
    "invalid",
    ({ target }) => {
      if (!isField(target)) return;
      target.setCustomValidity("");
      target.setCustomValidity(sentence(target));
    },
    true,
  );
}
