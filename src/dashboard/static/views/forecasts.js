/**
 * Forecasts: predictions registered before training, scored when their run arrives.
 *
 * @module views/forecasts
 */

import { change, familyPath, get, list } from "../api.js";
import { copyButtons } from "../copy.js";
import { announce, el, empty, failure, field, fill, loading, table } from "../dom.js";
import { forecastsFigure } from "../figures.js";
import { levelSelect, modeSelect, numberField } from "../inputs.js";
import { formatAge, formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatPercent, formatWhole, plural } from "../numbers.js";
import { picture } from "../plots.js";
import { go, note, params } from "../url.js";
import { extrapolation, levelName } from "../words.js";

const MOST = 1000;

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export async function showForecasts(main, context) {
  const { name, family, law, readOnly, signal } = context;
  const asked = params();
  const calibration = el("section", { class: "panel", "aria-labelledby": "calibration" }, loading());
  const listed = el("section", { class: "panel", "aria-labelledby": "forecasts" }, loading());
  const scored = picture({
    title: "Forecast against measured loss", name: "forecasts", choices: [["", "linear"], ["log", "log"]], onLink: go, signal,
  });
  const shownPicture = el("div", { hidden: true }, scored.node);
  fill(
    main,
    el(
      "div",
      { class: "columns" },
      el("section", { class: "panel aside", "aria-labelledby": "register" }, el("h2", { id: "register" }, "Register a forecast"), readOnly ? el("p", { class: "denied" }, readOnly) : law ? form() : empty("A forecast needs a law: refit first.")),
      el("div", {}, calibration, listed, shownPicture),
    ),
  );

  function form() {
    const id = el("input", { name: "external_id", required: true, maxlength: 200, autocomplete: "off" });
    const size = numberField({ label: "Non-zero parameters", name: "n", value: asked.get("n") ?? "", format: formatCount, min: 1, max: 1e18, required: true });
    const sparsity = numberField({ label: "Sparsity", name: "s", value: asked.get("s") ?? "", format: formatLevel, min: 0, max: 1, fraction: true, required: true, hint: "75 % or 0.75" });
    const level = levelSelect(law);
    const by = el("select", { name: "by" }, el("option", { value: "data" }, "amount of data"), el("option", { value: "compute", selected: asked.has("c") }, "compute"));
    const data = numberField({ label: `Data in ${family.data_unit}`, name: "d", format: formatCount, min: 1e-6, max: 1e30, required: true });
    const compute = numberField({ label: "Training compute", name: "c", value: asked.get("c") ?? "", format: formatFlops, min: 1, max: 1e40, required: true });
    const mode = modeSelect(asked.get("mode") ?? "sparse");
    const modeField = field("What a step costs", mode);
    const text = el("input", { name: "note", maxlength: 2000, autocomplete: "off" });
    const outcome = el("div", {});
    const switchTo = () => {
      data.node.hidden = by.value !== "data";
      compute.node.hidden = modeField.hidden = by.value === "data";
    };
    by.addEventListener("change", switchTo);
    switchTo();
    return el(
      "form",
      {
        on: {
          submit: async (/** @type {Event} */ event) => {
            event.preventDefault();
            const byData = by.value === "data";
            const wrong = [size, sparsity, byData ? data : compute].find((f) => !f.ok());
            if (wrong) {
              fill(outcome, el("p", { class: "bad", role: "alert" }, `${wrong.node.querySelector("label")?.textContent} is needed.`));
              wrong.input.focus();
              return;
            }
            try {
              const forecast = await change("POST", familyPath(name, "/forecasts"), {
                external_id: id.value.trim(), nonzero_params: size.read(), sparsity: sparsity.read(), level: level?.value || undefined,
                ...(byData ? { data: data.read() } : { compute: compute.read(), flop_mode: mode.value }), note: text.value.trim() || undefined,
              });
              const interval = forecast.prediction_interval;
              const said = `Registered: ${forecast.external_id} will reach ${formatLoss(forecast.loss)}${interval ? `, a new run between ${formatInterval(interval, formatLoss).replace("–", " and ")}` : ""}.`;
              fill(outcome, el("p", { class: "success" }, said), forecast.extrapolation.length > 0 && el("div", { class: "notes" }, el("h3", {}, "Beyond the data"), el("ul", {}, forecast.extrapolation.map((/** @type {any} */ e) => el("li", {}, extrapolation(e))))));
              announce(said);
              await load();
            } catch (error) {
              fill(outcome, failure(error));
            }
          },
        },
      },
      el("p", { class: "foot" }, "It keeps this law's numbers for good, and is scored when the run of this name arrives."),
      el("div", { class: "form" }, el("div", { class: "wide" }, field("Name that the run will have", id)), size.node, sparsity.node, level && el("div", { class: "wide" }, field("Pattern or recipe", level)), field("Trained by", by), data.node, compute.node, modeField, el("div", { class: "wide" }, field("Note", text))),
      el("p", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, "Register")),
      outcome,
    );
  }

  async function load() {
    try {
      const [total, { items, more }] = await Promise.all([get(familyPath(name, "/forecasts/calibration"), {}, signal), list(familyPath(name, "/forecasts"), {}, { most: MOST, signal })]);
      showCalibration(total);
      showList(items, more);
      const withScore = items.filter((forecast) => forecast.score);
      shownPicture.hidden = withScore.length === 0;
      if (withScore.length > 0) await scored.show(forecastsFigure(withScore));
    } catch (error) {
      if (!signal.aborted) fill(calibration, failure(error, load));
    }
  }

  /** @param {any} total */
  function showCalibration(total) {
    const share = total.share_inside;
    const known = share !== null && share !== undefined;
    const left = total.left_out;
    fill(
      calibration,
      el("h2", { id: "calibration" }, "How often forecasts come true"),
      known
        ? el("p", { class: "headline" }, formatPercent(share, 0), " ", el("small", {}, `${formatInterval(total.share_interval, (v) => formatPercent(v, 0))}${total.share_interval ? `, ${levelName(total.share_interval)}` : ""}; nominal ${formatPercent(total.nominal_share, 0)}`))
        : empty("No forecast counts yet: register some before training, and upload their runs after."),
      known && el("p", { class: "means" }, `Of ${plural(total.counted, "forecast")} that count, ${total.inside} had the run inside the prediction interval.`),
      el(
        "dl",
        { class: "pairs" },
        [
          ["Open", String(total.open)],
          ["Scored", String(total.scored)],
          ["Left out", `${left.not_as_planned} not as planned, ${left.excluded} excluded, ${left.without_interval} without interval`],
          known && ["Mean relative error", formatPercent(total.mean_relative_error, 2)],
          known && ["Root mean square of it", formatPercent(total.rms_relative_error, 2)],
        ].filter(Boolean).map((pair) => [el("dt", {}, /** @type {any} */ (pair)[0]), el("dd", {}, /** @type {any} */ (pair)[1])]),
      ),
      total.months.length > 0 &&
        table({
          caption: "By month of the run",
          columns: [{ text: "Month" }, { text: "Counted", number: true }, { text: "Inside", number: true }, { text: "Share", number: true }, { text: "All until then", number: true }],
          rows: total.months.map((/** @type {any} */ m) => [m.month.slice(0, 7), m.alone.counted, m.alone.inside, withShare(m.alone), withShare(m.cumulative)]),
        }),
      copyButtons({ method: "GET", path: familyPath(name, "/forecasts/calibration"), family: name, call: "calibration" }),
    );
  }

  /** @param {any} totals @returns {import("../dom.js").Child[]} */
  function withShare(totals) {
    if (totals.share_inside === null || totals.share_inside === undefined) return ["none"];
    return [formatPercent(totals.share_inside, 0), totals.share_interval && el("small", {}, ` ${formatInterval(totals.share_interval, (v) => formatPercent(v, 0))}`)];
  }

  /** @param {any[]} items @param {boolean} more */
  function showList(items, more) {
    const only = el("select", { "aria-label": "Which forecasts" }, [["", "all"], ["open", "open"], ["scored", "scored"]].map(([value, text]) => el("option", { value, selected: value === (params().get("state") ?? "") }, text)));
    only.addEventListener("change", () => {
      note({ state: only.value });
      showList(items, more);
    });
    const kept = items.filter((forecast) => only.value === "" || Boolean(forecast.score) === (only.value === "scored"));
    const state = (/** @type {any} */ forecast) => {
      const { score } = forecast;
      if (!score) return el("span", { class: "badge" }, "open");
      if (score.excluded) return el("span", { class: "badge" }, "run excluded");
      if (!score.as_planned) return el("span", { class: "badge" }, "not as planned");
      if (score.inside_prediction_interval === null) return el("span", { class: "badge" }, "no interval");
      return score.inside_prediction_interval ? el("span", { class: "badge good" }, "inside") : el("span", { class: "badge bad" }, "outside");
    };
    fill(
      listed,
      el("div", { class: "head" }, el("h2", { id: "forecasts" }, "Forecasts"), only),
      kept.length === 0
        ? empty(items.length === 0 ? "There is none yet." : "None is like that.")
        : table({
            caption: "Forecasts, newest first",
            hideCaption: true,
            columns: [{ text: "Run" }, { text: "Size", number: true }, { text: "Sparsity", number: true }, { text: "Data", number: true }, { text: "Forecast, a new run", number: true }, { text: "Measured", number: true }, { text: "State" }, { text: "Law", number: true }],
            rows: kept.map((forecast) => [
              [el("div", { class: "clip", title: forecast.note ?? forecast.external_id }, forecast.external_id), el("small", {}, formatAge(forecast.created_at))],
              formatCount(forecast.nonzero_params),
              `${formatLevel(forecast.sparsity)}${forecast.level ? ` (${forecast.level})` : ""}`,
              formatCount(forecast.data),
              [formatLoss(forecast.loss), " ", el("small", {}, formatInterval(forecast.prediction_interval, formatLoss) || "no interval")],
              forecast.score ? [formatLoss(forecast.score.measured), " ", el("small", {}, `${forecast.score.error >= 0 ? "+" : "−"}${formatPercent(Math.abs(forecast.score.relative_error), 2)}`)] : "",
              [state(forecast), forecast.extrapolation.length > 0 && [" ", el("span", { class: "badge warn", title: forecast.extrapolation.map(extrapolation).join("; ") }, "beyond the data")]],
              String(forecast.law.version),
            ]),
          }),
      more && el("p", { class: "foot" }, `The newest ${formatWhole(MOST)} are shown; the calibration counts all.`),
    );
  }

  await load();
}
