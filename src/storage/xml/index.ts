export { XmlElement } from './element.ts';
export { escapeXml } from './entities.ts';
export { parseXml } from './parse.ts';
export { xmlPieces } from './pieces.ts';
