/**
 * Random operations of an application, a daemon with compaction, snapshots and retention, restores, checked after each step: invariants
 * E1, E5, E9, E10, E11, E12, E13, E14 of the engine, I1, I5, I6, I7 of restore.
 */
import { campaign } from '../harness/campaign.ts';

campaign('maintained-1');
