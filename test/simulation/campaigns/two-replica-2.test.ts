import { campaign } from '../harness/campaign.ts';

campaign('two-replica-2');
