export { XmlElement } from './element.ts';
export { parseXml } from './parse.ts';
