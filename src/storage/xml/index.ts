export { XmlElement } from './element.ts';
export { parseXml } from './parse.ts';
export { xmlPieces, type XmlPiecesOptions } from './pieces.ts';
