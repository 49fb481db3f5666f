import { campaign } from '../harness/campaign.ts';

campaign('contested-1');
