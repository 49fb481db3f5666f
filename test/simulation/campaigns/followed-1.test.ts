/**
 * Random operations as with upkeep, with followers that die and programs that keep their copy open: invariants I6, I7 of restore between
 * any two calls of a follower.
 */
import { campaign } from '../harness/campaign.ts';

campaign('followed-1');
