export { XmlElement } from './element.ts';
export { parseXml, type ParseXmlOptions } from './parse.ts';
