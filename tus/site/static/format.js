// Numbers and phrases for people. Pure, so that node can test it.
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

/** Bytes: 950 B, 1.5 MB. */
export function size (bytes, language) {
  let unit = 0
  for (; bytes >= 999.5 && UNITS[unit + 1]; unit++) bytes /= 1000
  return `${bytes.toLocaleString(language, { maximumFractionDigits: unit && bytes < 9.95 ? 1 : 0 })} ${UNITS[unit]}`
}

/** Seconds: 42 s, 3 min, 1.5 h. */
export function duration (seconds) {
  if (seconds < 59.5) return `${Math.max(1, Math.ceil(seconds))} s`
  if (seconds < 3570) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}

/** 100 only when nothing is left. */
export const percent = (part, whole) => whole ? Math.floor(part / whole * 100) : 100

/** {name} stands for a value, and n decides between `one|many`. */
export const phrases = (texts, language) => (key, values = {}) => {
  const forms = texts[key].split('|')
  return (values.n === 1 ? forms[0] : forms.at(-1)).replace(/\{(\w+)\}/g, (_, name) => values[name].toLocaleString(language))
}

/** Bytes a second, of samples [seconds, bytes]; 0 while nobody can tell. */
export function speed (samples) {
  const [from, to] = [samples[0], samples.at(-1)]
  return samples.length > 1 && to[0] - from[0] > 0.2 ? Math.max(0, (to[1] - from[1]) / (to[0] - from[0])) : 0
}

/** Whether a list such as ".jpg, image/*" takes this file; an empty one takes all. */
export function allowed (list, { name, type }) {
  const words = list.toLowerCase().match(/[^\s,]+/g)
  return !words || words.some(word => word.startsWith('.')
    ? name.toLowerCase().endsWith(word)
    : word.endsWith('/*') ? type.startsWith(word.slice(0, -1)) : type === word)
}
