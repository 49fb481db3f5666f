/** Loaded before the test files of the background: they give way to everything else. */
import { constants, setPriority } from 'node:os';

setPriority(constants.priority.PRIORITY_LOW);
