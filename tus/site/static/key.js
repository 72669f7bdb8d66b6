// What the creation of an upload is called, so that it can be sent again when its answer was lost.
import { hold } from './earlier.js'
import { dataset, endpoint } from './page.js'

const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('')

/** The same for this file until it is forgotten, on a page that is opened again as well; another window has another. */
export async function keyOf ({ file, path, size, small }) {
  const name = `tus-key::${[endpoint, dataset.album, path, size, file.lastModified].join('-')}`
  const release = !small && await hold(name)
  const found = { key: random(), forget () {} }
  if (!release) return found
  try {
    found.key = localStorage[name] ||= found.key
    // The next creation is another one: the upload that this one made may have been removed.
    found.forget = () => { delete localStorage[name]; release(); found.key = random(); found.forget = () => {} }
  } catch { release() /* no room */ }
  return found
}
