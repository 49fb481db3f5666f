import { campaign } from '../harness/campaign.ts';

campaign('one-replica-1');
