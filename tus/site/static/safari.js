// Safari 26, and so all of an iPhone, stops after the first piece of a file that is sent as it lies on the disk, and does
// not after one that was read before.
const MOST = 8 << 20 // bytes in memory, of each file

export function freezes (agent) {
  const version = /\bVersion\/(\d+)\S* (Mobile\/\S+ )?Safari\//.exec(agent)
  return version ? version[1] > 25 : /\b(CriOS|FxiOS|EdgiOS)\//.test(agent)
}

async function openFile (file) {
  const slice = async (start, end) => {
    const value = await file.slice(start, end).arrayBuffer()
    value.size = value.byteLength
    return { value, done: end >= file.size }
  }
  return { size: file.size, slice, close () {} }
}

/** Options of tus-js-client: how much goes at a time. */
export const pieces = most => freezes(navigator.userAgent)
  ? { chunkSize: Math.min(most, MOST), fileReader: { openFile } } : { chunkSize: most }
