// Dawn's binding asks for finished work in every turn of the event loop for as long as anything is awaited, which keeps a core
// busy that a software adapter computes with: tests take a third less when it asks at once and then once a millisecond. It
// looks `setImmediate` up anew every time; nobody else in these processes takes it from the global object.
const immediately = globalThis.setImmediate;
let asking = false;
globalThis.setImmediate = (callback, ...args) => {
  const ask = () => {
    asking = true;
    callback(...args);
    asking = false;
  };
  return asking ? setTimeout(ask, 1) : immediately(ask);
};
