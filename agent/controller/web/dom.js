/** An element of class `className` that says `text`: as text, never as HTML. */
export const element = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
