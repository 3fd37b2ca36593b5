// Dawn's binding asks for finished work in every turn of the event loop for as long as anything is awaited, which keeps a core
// busy that a software adapter computes with: tests take a third less when it asks once a millisecond. It looks
// `setImmediate` up anew every time; nobody else in these processes takes it from the global object.
globalThis.setImmediate = (callback, ...args) => setTimeout(callback, 1, ...args);
