// Runs in the browser: each library as a page would use it, with a small chunk size. What a library says in the end is
// the result; nothing here may help one along.

const all = (count, resolve) => {
  const said = []
  return (word) => {
    said.push(word)
    if (said.length === count) resolve(said)
  }
}

const libraries = {
  flow: ({ target, files, chunkSize, options }, resolve, reject) => {
    const flow = new Flow({ target, chunkSize, maxChunkRetries: 3, ...options })
    const done = all(files.length, resolve)
    flow.on('fileSuccess', (file, message) => done(message))
    flow.on('fileError', (file, message) => reject(new Error(message)))
    flow.addFiles(files)
    flow.upload()
  },

  resumable: ({ target, files, chunkSize, options }, resolve, reject) => {
    const resumable = new Resumable({ target, chunkSize, minFileSize: 0, ...options })
    const done = all(files.length, resolve)
    resumable.on('fileSuccess', (file, message) => done(message))
    resumable.on('fileError', (file, message) => reject(new Error(message)))
    resumable.on('filesAdded', () => resumable.upload())
    resumable.addFiles(files)
  },

  simple: ({ target, files, chunkSize, options }, resolve, reject) => {
    const { asksOnce, ...others } = options
    if (asksOnce) {
      others.checkChunkUploadedByResponse = (chunk, message) => JSON.parse(message).uploaded.includes(chunk.offset + 1)
    }
    const uploader = new Uploader({ target, chunkSize, maxChunkRetries: 3, ...others })
    const done = all(files.length, resolve)
    uploader.on('fileSuccess', (root, file, message) => done(message))
    uploader.on('fileError', (root, file, message) => reject(new Error(message)))
    uploader.addFiles(files)
    uploader.upload()
  },

  dropzone: ({ target, files, chunkSize, options }, resolve, reject) => {
    const dropzone = new Dropzone(document.querySelector('#drop'), {
      url: target, chunking: true, forceChunking: true, chunkSize, retryChunks: true, ...options,
    })
    const done = all(files.length, resolve)
    dropzone.on('success', (file, response) => done(JSON.stringify(response)))
    dropzone.on('error', (file, message) => reject(new Error(JSON.stringify(message))))
    for (const file of files) dropzone.addFile(file)
  },

  plupload: ({ target, files, chunkSize, options }, resolve, reject) => {
    const uploader = new plupload.Uploader({
      url: target, browse_button: 'pick', runtimes: 'html5', chunk_size: chunkSize, max_retries: 3,
      prevent_empty: false, ...options,
    })
    const done = all(files.length, resolve)
    uploader.bind('FileUploaded', (up, file, result) => done(result.response))
    uploader.bind('Error', (up, error) => reject(new Error(`${error.message} ${error.response}`)))
    uploader.bind('FilesAdded', () => setTimeout(() => uploader.start()))
    uploader.bind('PostInit', () => uploader.addFile(files))
    uploader.init()
  },

  filepond: ({ target, files, chunkSize, options }, resolve, reject) => {
    const pond = FilePond.create(document.querySelector('#pond'), {
      server: target, chunkUploads: true, chunkForce: true, chunkSize, chunkRetryDelays: [100, 200, 300],
      allowMultiple: true, ...options,
    })
    const done = all(files.length, resolve)
    window.pond = pond
    pond.on('processfile', (error, file) => (error ? reject(new Error(JSON.stringify(error))) : done(file.serverId)))
    pond.addFiles(files)
  },

  uppy: ({ target, files, options }, resolve, reject) => {
    const uppy = new Uppy().use(XHRUpload, { endpoint: target, ...options })
    for (const file of files) uppy.addFile({ name: file.name, type: file.type, data: file })
    uppy.upload().then(({ successful, failed }) =>
      failed.length ? reject(new Error(failed[0].error)) : resolve(successful.map((file) => file.uploadURL)))
  },

  // No library: a form into a hidden frame, and a poll.
  iframe: ({ target, progress, options }, resolve, reject) => {
    const form = document.querySelector('#plain')
    const key = crypto.randomUUID()
    const seen = []
    form.action = `${target}?uploadKey=${key}`
    document.querySelector('iframe').onload = ({ target: frame }) => {
      if (frame.contentDocument.URL !== 'about:blank') resolve([...seen, frame.contentDocument.body.textContent])
    }
    const poll = async () => {
      const said = await (await fetch(`${progress}?uploadKey=${key}`)).json()
      seen.push(said)
      if (said.state === 'failed') reject(new Error('failed'))
      if (said.state !== 'finished') setTimeout(poll, 20)
    }
    form.submit()
    poll()
  },
}

window.run = (library, plan) => {
  const files = [...document.querySelector('#files').files]
  return new Promise((resolve, reject) => libraries[library]({ ...plan, files }, resolve, reject))
}
